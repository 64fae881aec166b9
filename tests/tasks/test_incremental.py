"""One more file costs its own work: what earlier files need is not done again."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.store.manifest import Marker, marker_from_json
from tasks.recipe.resolve import resolve
from tests.tasks.report.conftest import DirectRunner

FILES, PER_FILE = 20, 60
RECIPE = {
    "name": "grown",
    "sources": {
        "web": {
            "read": {"jsonl": {"id_field": "id"}},
            "steps": ["paragraphs", "language", "heuristics", "near_duplicates"],
            "rules": [{"column": "heuristics.word_count", "at_least": 5, "reason": "word_count"}],
        }
    },
    "tokenizer": {"vocabulary_size": 300, "most_documents": 200},
}


def write_file(folder: Path, number: int) -> None:
    """Documents of random words. The last file has a shorter copy of a document of every other one."""
    with (folder / f"{number:02}.jsonl").open("w") as file:
        for row in range(PER_FILE):
            copied = number == FILES and row < FILES
            chance = random.Random(row * 1000 if copied else number * 1000 + row)
            text = " ".join(f"w{chance.randrange(30_000)}" for _ in range(79 if copied else 80))
            file.write(json.dumps({"id": f"{number}-{row}", "text": text}) + "\n")


def build(pool: LocalPool, folder: Path) -> dict[str, Marker]:
    """Build the corpus and the tokens; returns all markers of the lake."""
    lake = Lake.open(str(folder / "lake"))
    sources = {"web": {**RECIPE["sources"]["web"], "inputs": [str(folder / "in")]}}  # type: ignore[index]
    resolved = resolve(parse_recipe({**RECIPE, "sources": sources}, "x"))
    make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), resolved)
    found = {}
    for entry in lake.list("markers"):
        found[entry.path] = marker_from_json(lake.read_json(entry.path), entry.path)
    return found


def test_one_file_of_five_percent_costs_its_own_work(pool: LocalPool, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        write_file(tmp_path / "in", number)
    before = build(pool, tmp_path)
    write_file(tmp_path / "in", FILES)
    after = build(pool, tmp_path)
    new = {path: marker for path, marker in after.items() if path not in before}

    def units(markers: dict[str, Marker]) -> Counter[str]:
        return Counter(path.split("/")[1] for path in markers)

    first, second = units(before), units(new)
    assert first["jsonl"] == first["heuristics"] == first["encode"] == FILES
    # Row by row: the new file alone, although it has a copy of a document of every other file.
    for stage in ("jsonl", "language", "heuristics", "signatures", "rules", "encode"):
        assert second[stage] == 1, stage
    # A comparison of all documents reads hashes only. Shards with a new candidate are looked at again, and written anew
    # with the same text, so that nothing behind the corpus is.
    assert second["ids"] == second["paragraphs"] == 3 and second["index"] == 2
    assert second["near_duplicates"] <= FILES + 6
    texts = [marker.parts[0].content for path, marker in before.items() if path.split("/")[1] == "corpus"]
    again = [marker.parts[0].content for path, marker in new.items() if path.split("/")[1] == "corpus"]
    assert len(set(texts) & set(again)) == FILES and len(set(again)) == FILES + 1
