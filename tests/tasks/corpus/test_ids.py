"""Repeated ids: found over all sources before anything compares documents, and costing nothing but themselves."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.tables import read_table
from tasks.builds import BuildRecord
from tasks.recipe.resolve import resolve
from tests.tasks.corpus.tables import documents, with_copies
from tests.tasks.report.conftest import DirectRunner


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=4))
def test_copies_count_the_documents_before_them(shards: list[list[str]]) -> None:
    seen: list[str] = []
    expected = []
    for shard in shards:
        expected.append([seen[:].count(name) + shard[:number].count(name) for number, name in enumerate(shard)])
        seen += shard
    tables = [documents(*({"id": name} for name in shard)) for shard in shards]
    found = with_copies(tables, partitions=3)
    assert [shard["ids.copy"].to_pylist() for shard in found] == expected


def lines_of(seed: int) -> str:
    """Three lines that no other seed has."""
    chance = random.Random(seed)
    return "\n".join(" ".join(f"word{chance.randrange(10_000)}" for _ in range(30)) for _ in range(3))


def recipe(folder: Path, *files: str) -> dict[str, Any]:
    read = {"jsonl": {"id_field": "id"}}
    steps = ["paragraphs", "language", {"own": {"stage": "near_duplicates", "survivors": ["first"]}}]
    inputs = [str(folder / file) for file in files]
    return {
        "name": "copies",
        "sources": {
            "web": {"read": read, "inputs": inputs, "steps": steps},
            "books": {"read": read, "inputs": [str(folder / "books.jsonl")], "steps": steps},
        },
        "across": [{"shared": {"stage": "near_duplicates", "survivors": ["longest"]}}],
        "tokenizer": {"vocabulary_size": 300},
    }


def built(pool: LocalPool, folder: Path, lake: str, *files: str) -> tuple[BuildRecord, dict[str, str]]:
    """A build, and the texts of its corpora by id."""
    opened = Lake.open(str(folder / lake))
    resolved = resolve(parse_recipe(recipe(folder, *files), "x"))
    record = make_corpus(DirectRunner(opened, pool, lambda label, done, total: None), resolved)
    texts: dict[str, str] = {}
    for manifest in record.corpora(opened).values():
        for part in manifest.parts:
            local = opened.local_path(part.path)
            assert local is not None
            table = read_table(local, ["id", "text"])
            texts |= dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return record, texts


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight documents; files that repeat some of them; and a source that repeats two."""
    folder = tmp_path_factory.mktemp("copies")
    texts = {f"w{number}": lines_of(number) for number in range(8)}
    books = {f"b{number}": lines_of(100 + number) for number in range(4)}
    rows = {
        "plain": [*texts.items()],
        "twice": [*texts.items(), *texts.items(), ("w3", "another text of that id")],
        "again": [*list(texts.items())[2:5]],
        "books": [*books.items(), *[("w1", texts["w1"]), ("b2", books["b2"])]],
    }
    for name, items in rows.items():
        written = "".join(json.dumps({"id": identity, "text": text}) + "\n" for identity, text in items)
        (folder / f"{name}.jsonl").write_text(written)
    return folder


def test_a_repeated_id_costs_its_document_and_nothing_else(pool: LocalPool, inputs: Path) -> None:
    _, plain = built(pool, inputs, "plain", "plain.jsonl")
    assert {name: plain[f"web/{name}"] for name in (f"w{number}" for number in range(8))} == {
        f"w{number}": lines_of(number) for number in range(8)
    }
    for files in (("twice.jsonl",), ("plain.jsonl", "again.jsonl")):
        record, texts = built(pool, inputs, f"lake-{len(files)}", *files)
        assert texts == plain
        entries = {entry["stage"]: entry for entry in record.source_ledgers["web"]}
        repeated = 9 if files == ("twice.jsonl",) else 3
        assert entries["documents"]["failed"] == {"duplicate_id": repeated}
        assert sum(sum(entry["dropped"].values()) for entry in entries.values()) == 0


def test_one_text_under_two_ids_is_still_compared(pool: LocalPool, inputs: Path) -> None:
    """Ids of another source differ by its name, so the same text there is a near-duplicate and no repeated id."""
    record, texts = built(pool, inputs, "plain", "plain.jsonl")
    assert "books/b2" in texts
    entries = {entry["stage"]: entry for entry in record.source_ledgers["books"]}
    assert entries["documents"]["failed"] == {"duplicate_id": 1}
    copies = [name for name in ("web/w1", "books/w1") if name in texts]
    assert len(copies) == 1


def test_a_file_that_repeats_ids_makes_no_other_shard_anew(pool: LocalPool, inputs: Path) -> None:
    def maps(record: BuildRecord, lake: str) -> list[str]:
        return list(record.manifest(Lake.open(str(inputs / lake)), "web/paragraphs").details["markers"])

    first, _ = built(pool, inputs, "grown", "plain.jsonl")
    second, _ = built(pool, inputs, "grown", "plain.jsonl", "again.jsonl")
    assert maps(second, "grown")[:1] == maps(first, "grown")
