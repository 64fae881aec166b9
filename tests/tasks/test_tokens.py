"""Tokens: ids as the tokenizer's own library gives them, files as Megatron reads them, lineage for every document."""

from __future__ import annotations

import gzip
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store.lake import Lake
from infra.store.ledger import BooksDoNotBalance
from infra.store.manifest import store_part
from infra.store.tokens import TokenFile
from tasks.lineage import LINEAGE_SUFFIX, Origin, documents_of, origins
from tasks.token_artifact import SUMMARY_FILE, count_tokens
from tasks.tokenizer import END_OF_TEXT, TokenizerConfig, fit_tokenizer, load_tokenizer
from tasks.tokens import (
    EncodeConfig,
    TokensConfig,
    encode,
    in_validation,
    load_encoder,
    write_tokens,
)
from tests.tasks.tokens_by_hand import first_file, tokens_by_hand

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


def test_another_end_of_document_stands_behind_documents_and_in_the_summary(
    tokenizer_file: Path, tmp_path: Path
) -> None:
    """Only another token than the default enters keys and summaries, so those of existing recipes stay."""
    named = tmp_path / "named.json"
    named.write_text(tokenizer_file.read_text().replace(END_OF_TEXT, "</s>"))
    assert "end_of_document" not in TokensConfig().model_dump() | EncodeConfig().model_dump()
    config = EncodeConfig(end_of_document="</s>")
    assert config.model_dump()["end_of_document"] == "</s>"
    ids = encode(table(["a </s> b"]), config, load_encoder(config, {"tokenizer.json": named}))["ids"]
    for token, path in (("</s>", named), (END_OF_TEXT, tokenizer_file)):
        folder = tmp_path / path.stem
        folder.mkdir()
        tokens = TokensConfig(mixture={"s": 1.0}, end_of_document=token)
        files = tokens_by_hand([table(["a </s> b"]).append_column("encode.ids", ids)], tokens, folder, path)
        summary = json.loads(files[SUMMARY_FILE].read_text())
        assert summary.get("end_of_document", END_OF_TEXT) == token
        assert ("end_of_document" in summary) == (token != END_OF_TEXT)
        document = TokenFile(files["s-00000.bin"], files["s-00000.idx"]).document(0).tolist()
        assert document == [*ids[0].as_py(), summary["end_of_text"]]
    with pytest.raises(ValueError, match="has no token </s>"):
        write_tokens(iter([]), TokensConfig(end_of_document="</s>"), tmp_path, 0, {"tokenizer.json": tokenizer_file})


def test_a_document_that_could_not_be_encoded_is_counted(lake: Lake, tokenizer_file: Path, tmp_path: Path) -> None:
    ids = pa.array([[5, 6], None, [7]], pa.list_(pa.int32()))
    rows = table(["one", "two", "three"]).append_column("encode.ids", ids)
    files = tokens_by_hand([rows], TokensConfig(mixture={"s": 1.0}), tmp_path, tokenizer_file)
    summary = json.loads(files[SUMMARY_FILE].read_text())
    assert (summary["sources"]["s"]["documents"], summary["sources"]["s"]["tokens"]) == (2, 5)
    assert summary["not_encoded"] == {"s": 1}
    part = store_part(lake, files[SUMMARY_FILE], name=SUMMARY_FILE, rows=-1, content="0" * 64, suffix=".json")
    tokens = SimpleNamespace(parts=[part], path="artifacts/tokens")
    for many, balanced in ((3, True), (2, False), (4, False)):
        corpora: Any = [SimpleNamespace(rows=many)]
        with nullcontext() if balanced else pytest.raises(BooksDoNotBalance):
            assert count_tokens(lake, tokens, corpora) == 5  # type: ignore[arg-type]


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
        ids = encode(
            table(TEXTS, source), EncodeConfig(), load_encoder(EncodeConfig(), {"tokenizer.json": tokenizer_file})
        )["ids"]
        batches.append(table(TEXTS, source).append_column("encode.ids", ids))
    files = tokens_by_hand(batches, config, tmp_path, tokenizer_file)
    summary = json.loads(files[SUMMARY_FILE].read_text())
    assert summary["mixture"] == {"s": 0.5, "t": 0.5}
    assert {name: item["documents"] for name, item in summary["sources"].items()} == {
        **{"s": 4, "s.held-out": 1},
        **{"t": 4, "t.held-out": 1},
    }
    for name, item in summary["sources"].items():
        stored = TokenFile(files[f"{first_file(name)}.bin"], files[f"{first_file(name)}.idx"])
        lineage = pq.read_table(files[f"{first_file(name)}.lineage.parquet"]).to_pylist()
        assert stored.tokens == item["tokens"] == sum(row["tokens"] for row in lineage)
        for row in lineage:
            ids = stored.document(row["document"])
            assert ids[-1] == summary["end_of_text"]
            assert tokenizer.decode(ids[:-1].tolist()) == TEXTS[int(row["id"].partition("/")[2])]
            assert stored.document_span(row["document"]) == (row["first_token"], row["first_token"] + row["tokens"])


def test_near_copies_stay_on_one_side_of_the_validation_split(tokenizer_file: Path, tmp_path: Path) -> None:
    """Every text comes twice, a planted near-copy in the same cluster; a hash of the ids would tear most apart."""
    share, pairs = 0.3, 400
    ids = [f"d{number}{copy}" for number in range(pairs) for copy in "ab"]
    clusters = [None if number % 4 == 0 else f"d{number}a" for number in range(pairs) for _ in "ab"]
    torn = [number for number in range(pairs) if _side(f"d{number}a", share) != _side(f"d{number}b", share)]
    assert len(torn) > 100, "the plain hash is a test of nothing unless it tears pairs apart"
    table = pa.table(
        {
            "id": ids,
            "url": [f"https://x.example/{identity}" for identity in ids],
            "source": ["s"] * len(ids),
            "cluster": pa.array(clusters, pa.string()),
            "encode.ids": pa.array([[1, 2]] * len(ids), pa.list_(pa.int32())),
        }
    )
    config = TokensConfig(mixture={"s": 1.0}, validation=share, held_out_every=10)
    files = tokens_by_hand([table.slice(0, 300), table.slice(300)], config, tmp_path, tokenizer_file)
    sides = {
        name: set(pq.read_table(files[f"{first_file(name)}{LINEAGE_SUFFIX}"])["id"].to_pylist())
        for name in ("s", "s.validation", "s.held-out")
    }
    for number in range(pairs):
        if number % 4:
            kept = [f"d{number}{copy}" in sides["s.validation"] for copy in "ab"]
            assert kept[0] == kept[1] == _side(f"d{number}a", share)
        else:
            assert all((one in sides["s.validation"]) == _side(one, share) for one in (f"d{number}a", f"d{number}b"))
    assert sum(map(len, sides.values())) == len(ids) == len(set.union(*sides.values())), "the books balance"
    assert abs(len(sides["s.validation"]) / len(ids) - share) < 0.06
    summary = json.loads(files[SUMMARY_FILE].read_text())["sources"]
    assert {name: item["documents"] for name, item in summary.items()} == {n: len(side) for n, side in sides.items()}
    assert TokenFile(files["s-00000.validation.bin"], files["s-00000.validation.idx"]).documents == len(
        sides["s.validation"]
    )


def _side(name: str, share: float) -> bool:
    return in_validation(name, share)


def test_the_share_is_met_and_grows_without_moving_anything() -> None:
    names = [f"document {number}" for number in range(20_000)]
    small, large = ({name for name in names if in_validation(name, share)} for share in (0.01, 0.05))
    assert small < large and not any(in_validation(name, 0.0) for name in names)
    assert abs(len(small) - 200) < 60 and abs(len(large) - 1000) < 130


def test_without_clusters_there_is_no_validation_set(tokenizer_file: Path, tmp_path: Path) -> None:
    batch = table(["x"]).append_column("encode.ids", pa.array([[1]], pa.list_(pa.int32())))
    with pytest.raises(ValueError, match=r"no column cluster.* build it again"):
        tokens_by_hand([batch], TokensConfig(mixture={"s": 1.0}, validation=0.1), tmp_path, tokenizer_file)


def test_lineage_answers_both_ways(tokenizer_file: Path, tmp_path: Path) -> None:
    batch = table(["x", "y", "z"]).append_column("encode.ids", pa.array([[1]] * 3, pa.list_(pa.int32())))
    batch = batch.append_column("url", pa.array(["https://a", None, "https://c"]))
    lineage = tokens_by_hand([batch], TokensConfig(mixture={"s": 1.0}), tmp_path, tokenizer_file)[
        f"s-00000{LINEAGE_SUFFIX}"
    ]
    assert origins(lineage, [2, 0, 2]) == {0: Origin("s/0", "https://a", 2), 2: Origin("s/2", "https://c", 2)}
    assert [documents_of(lineage, name) for name in ("s/1", "https://c", "nobody")] == [[1], [2], []]
    older = pq.read_table(lineage, columns=["document", "id", "tokens"])
    pq.write_table(older, tmp_path / "older.parquet")
    assert [documents_of(tmp_path / "older.parquet", name) for name in ("s/1", "https://c")] == [[1], []]
    with pytest.raises(ValueError, match="has no document 7"):
        origins(lineage, [1, 7])


def test_a_url_may_be_of_several_documents(tokenizer_file: Path, tmp_path: Path) -> None:
    """A page that two crawls have, and a document whose id is another's URL."""
    batch = table(["x", "y", "z", "z"]).append_column("encode.ids", pa.array([[1]] * 4, pa.list_(pa.int32())))
    batch = batch.append_column("url", pa.array(["https://a", None, "https://a", "s/1"]))
    lineage = tokens_by_hand([batch], TokensConfig(mixture={"s": 1.0}), tmp_path, tokenizer_file)[
        f"s-00000{LINEAGE_SUFFIX}"
    ]
    assert [documents_of(lineage, name) for name in ("https://a", "s/1", "s/2")] == [[0, 2], [1, 3], [2]]


@pytest.mark.parametrize("shares", ["mixture", "epochs"])
def test_a_source_that_the_mixture_forgot_is_refused(tokenizer_file: Path, tmp_path: Path, shares: str) -> None:
    batch = table(["x"]).append_column("encode.ids", pa.array([[1]], pa.list_(pa.int32())))
    config = TokensConfig.model_validate({shares: {"other": 1.0}})
    with pytest.raises(ValueError, match="the corpus has s, which the mixture lacks"):
        tokens_by_hand([batch], config, tmp_path, tokenizer_file)


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json is not a tokenizer"):
        load_tokenizer(tmp_path / "x.json")


def test_epochs_give_shares_by_the_tokens_that_training_sees(tokenizer_file: Path, tmp_path: Path) -> None:
    encoder = load_encoder(EncodeConfig(), {"tokenizer.json": tokenizer_file})
    sources = {"s": TEXTS, "t": TEXTS[:2]}
    batches = [
        table(texts, name).append_column("encode.ids", encode(table(texts, name), EncodeConfig(), encoder)["ids"])
        for name, texts in sources.items()
    ]
    config = TokensConfig(epochs={"s": 1.0, "t": 3.0}, held_out_every=5)
    summary = json.loads(tokens_by_hand(batches, config, tmp_path, tokenizer_file)[SUMMARY_FILE].read_text())
    tokens = {name: summary["sources"][name]["tokens"] for name in sources}
    seen = tokens["s"] + 3 * tokens["t"]
    assert summary["mixture"] == pytest.approx({"s": tokens["s"] / seen, "t": 3 * tokens["t"] / seen})
