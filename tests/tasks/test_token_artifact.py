"""What a tokens artifact holds, in the form of this version and of the one before it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.engine.shards import PartReader
from infra.store.digests import sha256_file
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, store_part
from infra.store.token_files import pair_digest
from infra.store.tokens import TokenFile
from tasks.lineage import Lineages
from tasks.token_artifact import HELD_OUT, SPLITS, TOKENS_VERSION, VALIDATION, token_digests, token_files
from tasks.tokenizer import TokenizerConfig, fit_tokenizer
from tasks.tokens import TokensConfig, in_validation
from tests.tasks.tokens_by_hand import tokens_by_hand

DOCUMENTS = 60


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = pa.table({"text": ["the mill turns"] * 9})
    folder = tmp_path_factory.mktemp("tokenizer")
    return fit_tokenizer(iter([texts]), TokenizerConfig(vocabulary_size=300), folder)["tokenizer.json"]


def corpus() -> pa.Table:
    """Documents of two sources; some could not be encoded."""
    numbers = range(DOCUMENTS)
    ids = [None if number % 7 == 3 else [number % 250] * (number % 5) for number in numbers]
    return pa.table(
        {
            "id": [f"d{number}" for number in numbers],
            "url": [f"https://x.example/{number % 20}" for number in numbers],
            "source": ["web-00001" if number < 45 else "books" for number in numbers],
            "cluster": pa.nulls(DOCUMENTS, pa.string()),
            "encode.ids": pa.array(ids, pa.list_(pa.int32())),
        }
    )


def made(lake: Lake, files: dict[str, Path], version: int = TOKENS_VERSION) -> Manifest:
    parts = tuple(
        store_part(lake, path, name=name, rows=-1, content=sha256_file(path), suffix=path.suffix)
        for name, path in files.items()
    )
    account = Account(rows_in=DOCUMENTS, kept=DOCUMENTS)
    return Manifest("0" * 64, "0" * 64, "tokens", version, {}, {}, {}, {}, parts, account, {}, {}, "2026-01-01")


CONFIG = TokensConfig(mixture={"web-00001": 0.5, "books": 0.5}, held_out_every=4, validation=0.2)


@pytest.mark.parametrize("rows", [1, 7, 20])
def test_many_files_hold_what_one_holds(lake: Lake, tokenizer_file: Path, tmp_path: Path, rows: int) -> None:
    one, many = (
        made(lake, tokens_by_hand([corpus()], CONFIG, tmp_path / name, tokenizer_file, group_rows=size))
        for name, size in (("one", DOCUMENTS), ("many", rows))
    )
    reader = PartReader(lake, tmp_path)

    def documents(tokens: Manifest, split: str) -> dict[str, list[list[int]]]:
        return {
            source: [
                pair.document(number).tolist()
                for file in files
                for pair in [TokenFile(reader.path(file.bin), reader.path(file.idx))]
                for number in range(pair.documents)
            ]
            for source, files in token_files(tokens, split).items()
        }

    summaries = [lake.read(part.path) for tokens in (one, many) for part in tokens.parts if part.name == "summary.json"]
    assert summaries[0] == summaries[1], "counts, mixture and digests"
    assert json.loads(summaries[0])["not_encoded"] == {"web-00001": 6, "books": 3}
    for split in SPLITS:
        assert documents(one, split) == documents(many, split)
        assert token_digests(lake, one, split) == token_digests(lake, many, split)
        for source, [pair] in token_files(one, split).items():
            assert token_digests(lake, one, split)[source] == pair_digest(pair.bin.sha256, pair.idx.sha256)
            parts = [file.lineage for file in token_files(many, split)[source]]
            lineages = Lineages([part for part in parts if part is not None], reader)
            assert len(parts) > 1 or rows == 20
            counts = [pq.read_metadata(reader.path(part)).num_rows for part in parts if part is not None]
            whole = Lineages([pair.lineage], reader)  # type: ignore[list-item]
            everything = range(sum(counts))
            expected = whole.origins(everything, [sum(counts)])
            assert lineages.origins(everything, counts) == expected
            for number, origin in [*expected.items()][::9]:
                assert (number, origin) in lineages.named(origin.id)
                assert list(lineages.named(str(origin.url))) == list(whole.named(str(origin.url)))


def test_every_nth_document_of_a_source_is_held_out_wherever_its_group_begins(
    lake: Lake, tokenizer_file: Path, tmp_path: Path
) -> None:
    """Documents that could not be encoded, or that go to validation, count too."""
    tokens = made(lake, tokens_by_hand([corpus()], CONFIG, tmp_path, tokenizer_file, group_rows=7))
    reader = PartReader(lake, tmp_path)
    held = {
        identity
        for files in token_files(tokens, HELD_OUT).values()
        for file in files
        if file.lineage is not None
        for identity in pq.read_table(reader.path(file.lineage))["id"].to_pylist()
    }
    numbered = [(number, number + 1 if number < 45 else number - 44) for number in range(DOCUMENTS)]
    assert held == {
        f"d{number}"
        for number, place in numbered
        if place % 4 == 0 and number % 7 != 3 and not in_validation(f"d{number}", 0.2)
    }


def test_documents_of_no_file_are_refused(lake: Lake, tokenizer_file: Path, tmp_path: Path) -> None:
    tokens = made(lake, tokens_by_hand([corpus()], CONFIG, tmp_path, tokenizer_file))
    [file] = token_files(tokens)["books"]
    with pytest.raises(ValueError, match="has no document 500"):
        Lineages([file.lineage], PartReader(lake, tmp_path)).origins([500], [501])  # type: ignore[list-item]


def test_an_artifact_of_one_file_for_each_source_is_still_read(
    lake: Lake, tokenizer_file: Path, tmp_path: Path
) -> None:
    files = tokens_by_hand([corpus()], CONFIG, tmp_path, tokenizer_file)
    # Of version 2, where a source may have a name that looks like one of the files of version 3.
    older = {name.replace("-00000", ""): path for name, path in files.items()}
    summary = json.loads(files["summary.json"].read_text())
    for counts in summary["sources"].values():
        del counts["digest"]
    files["summary.json"].write_text(json.dumps(summary))
    tokens, now = made(lake, older, 2), made(lake, files)
    for split in ("", VALIDATION, HELD_OUT):
        assert token_files(tokens, split).keys() == token_files(now, split).keys() <= {"web-00001", "books"}
        for source, [pair] in token_files(tokens, split).items():
            assert token_digests(lake, tokens, split)[source] == pair_digest(pair.bin.sha256, pair.idx.sha256)
            assert pair.lineage is not None and pair.bin.name == f"{source}{split}.bin"
    with pytest.raises(Corrupt, match="the summary has no digest"):
        token_digests(lake, now)


def test_a_missing_index_is_named(lake: Lake, tokenizer_file: Path, tmp_path: Path) -> None:
    files = tokens_by_hand([corpus()], CONFIG, tmp_path, tokenizer_file)
    del files["books-00000.idx"]
    with pytest.raises(Corrupt, match=r"lists books-00000\.bin without books-00000\.idx"):
        token_files(made(lake, files))
