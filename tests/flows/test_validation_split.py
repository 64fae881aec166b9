"""The validation split through the whole data line: planted near-copies stand on one side of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from flows.recipe import parse_recipe, resolve_recipe
from infra.engine.shards import PartReader
from infra.store.lake import Lake
from tasks.builds import find_build
from tasks.settings import RecipeError
from tasks.token_artifact import VALIDATION, token_files
from tasks.tokens import in_validation
from tests.flows.conftest import Millrace

SHARE = 0.3
PAIRS = 60


def text(*survivors: str) -> dict[str, Any]:
    """A source whose duplicates are found, and some of which stay."""
    return {"read": {"jsonl": {"id_field": "id"}}, "steps": [{"near_duplicates": {"survivors": list(survivors)}}]}


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "name": "twins",
        "sources": {"text": text("all")},
        "tokenizer": {"vocabulary_size": 400},
        "tokens": {"validation": SHARE},
        **changes,
    }


def test_planted_twins_are_not_torn_apart(millrace: Millrace, tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(500)]
    lines = []
    for number in range(PAIRS):
        text = random.Random(number).choices(words, k=200)
        for copy, more in (("a", ""), ("b", " and one more")):
            lines.append({"id": f"d{number}{copy}", "text": " ".join(text) + more})
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "twins.yaml").write_text(yaml.safe_dump(recipe()))
    arguments = ["--input", str(tmp_path / "text.jsonl"), "--lake", str(tmp_path / "lake")]
    built = millrace.json("build", str(tmp_path / "twins.yaml"), *arguments)
    assert built["documents"] == 2 * PAIRS, "all stay"
    lake = Lake.open(str(tmp_path / "lake"))
    tokens = find_build(lake).manifest(lake, "tokens")
    reader = PartReader(lake, tmp_path)
    training, validation = (
        {
            identity
            for file in token_files(tokens, split)["text"]
            for identity in pq.read_table(reader.path(file.lineage))["id"].to_pylist()  # type: ignore[arg-type]
        }
        for split in ("", VALIDATION)
    )
    assert not training & validation and len(training | validation) == 2 * PAIRS
    assert {identity[:-1] for identity in training} & {identity[:-1] for identity in validation} == set()
    assert 8 <= len(validation) // 2 <= 28
    torn = [n for n in range(PAIRS) if len({in_validation(f"d{n}{copy}", SHARE) for copy in "ab"}) == 2]
    assert len(torn) > 10, "a hash of the ids would have torn these apart"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": {"text": {"read": "jsonl"}}}, "no step finds duplicates across all sources"),
        ({"sources": {"text": text("all", "longest")}}, "all keeps every member"),
        ({"tokens": {"validation": 1.0}}, "less than 1"),
    ],
)
def test_splits_that_keep_no_promise_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        resolve_recipe(parse_recipe(recipe(**changes), "x"), "x")
    resolve_recipe(parse_recipe(recipe(), "x"), "x")
