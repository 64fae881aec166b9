"""Tokens: ids as the tokenizer's own library gives them, files as Megatron reads them, lineage for every document."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store.tokens import TokenFile
from tasks.tokenizer import END_OF_TEXT, TokenizerConfig, fit_tokenizer, load_tokenizer
from tasks.tokens import SUMMARY_FILE, EncodeConfig, TokensConfig, encode, load_encoder, write_tokens

TEXTS = ["The mill turns.", "Das Rad dreht sich.", "水は流れる。", "def f(x):\n    return x\n", "a <|endoftext|> b"]


def table(texts: list[str], source: str = "s") -> pa.Table:
    return pa.table(
        {"id": [f"{source}/{n}" for n in range(len(texts))], "text": texts, "source": [source] * len(texts)}
    )


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    return fit_tokenizer(iter([table(TEXTS * 20)]), TokenizerConfig(vocabulary_size=400), folder)["tokenizer.json"]


def test_a_fit_is_repeatable_and_loses_no_text(tokenizer_file: Path, tmp_path: Path) -> None:
    again = fit_tokenizer(iter([table(TEXTS * 20)]), TokenizerConfig(vocabulary_size=400), tmp_path)["tokenizer.json"]
    assert again.read_bytes() == tokenizer_file.read_bytes()
    tokenizer = load_tokenizer(tokenizer_file)
    assert tokenizer.get_vocab_size() <= 400
    assert tokenizer.token_to_id(END_OF_TEXT) == 0
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_a_literal_end_of_text_is_text_unless_asked_otherwise(tokenizer_file: Path) -> None:
    files = {"tokenizer.json": tokenizer_file}
    plain = encode(table(TEXTS[-1:]), EncodeConfig(), load_encoder(EncodeConfig(), files))["ids"][0].as_py()
    config = EncodeConfig(end_of_text=True)
    special = encode(table(TEXTS[-1:]), config, load_encoder(config, files))["ids"][0].as_py()
    assert 0 not in plain
    assert 0 in special


def test_the_neox_tokenizer_gives_its_golden_ids(shared_data: Path) -> None:
    path = shared_data / "tokenizers" / "neox-20B_tokenizer.json"
    config = EncodeConfig(end_of_text=True)
    encoder = load_encoder(config, {"tokenizer.json": path})
    with gzip.open(shared_data / "tokenizers" / "golden.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    golden = [(row["text"], row["neox_20b"]) for row in rows if "neox_20b" in row]
    assert len(golden) > 400
    ids = encode(table([text for text, _ in golden]), config, encoder)["ids"].to_pylist()
    assert ids == [expected for _, expected in golden]


def test_every_document_is_in_one_file_with_its_lineage(tokenizer_file: Path, tmp_path: Path) -> None:
    config = TokensConfig(mixture={"s": 0.5, "t": 0.5}, held_out_every=3)
    tokenizer = load_tokenizer(tokenizer_file)
    batches = []
    for source in ("s", "t"):
        ids = encode(table(TEXTS, source), EncodeConfig(), load_encoder(EncodeConfig(), {"x": tokenizer_file}))["ids"]
        batches.append(table(TEXTS, source).append_column("encode.ids", ids))
    files = write_tokens(iter(batches), config, tmp_path, tokenizer_file)
    summary = json.loads(files[SUMMARY_FILE].read_text())
    assert summary["mixture"] == {"s": 0.5, "t": 0.5}
    assert {name: item["documents"] for name, item in summary["sources"].items()} == {
        **{"s": 4, "s.held-out": 1},
        **{"t": 4, "t.held-out": 1},
    }
    for name, item in summary["sources"].items():
        stored = TokenFile(files[f"{name}.bin"], files[f"{name}.idx"])
        lineage = pq.read_table(files[f"{name}.lineage.parquet"]).to_pylist()
        assert stored.tokens == item["tokens"] == sum(row["tokens"] for row in lineage)
        for row in lineage:
            ids = stored.document(row["document"])
            assert ids[-1] == summary["end_of_text"]
            assert tokenizer.decode(ids[:-1].tolist()) == TEXTS[int(row["id"].partition("/")[2])]
            assert stored.document_span(row["document"]) == (row["first_token"], row["first_token"] + row["tokens"])


def test_a_source_that_the_mixture_forgot_is_refused(tokenizer_file: Path, tmp_path: Path) -> None:
    batch = table(["x"]).append_column("encode.ids", pa.array([[1]], pa.list_(pa.int32())))
    with pytest.raises(ValueError, match=r"the sources \['s'\], of which the mixture says nothing"):
        write_tokens(iter([batch]), TokensConfig(mixture={"other": 1.0}), tmp_path, tokenizer_file)


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json is not a tokenizer"):
        load_tokenizer(tmp_path / "x.json")
