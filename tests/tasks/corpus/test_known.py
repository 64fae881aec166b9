"""A new build is compared with the corpus of an earlier one, which stays as it is."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from flows.build import make_corpus
from flows.recipe import RecipeError, parse_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.store.manifest import read_manifest
from infra.store.names import Reference, point
from tasks.builds import BuildRecord
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import Unresolved
from tasks.report.data import collect_report
from tasks.report.history import histories_of
from tests.tasks.report.conftest import DirectRunner


def text_of(number: int, words: int = 80) -> str:
    chance = random.Random(number)
    return " ".join(f"w{chance.randrange(10_000)}" for _ in range(words))


def write(folder: Path, name: str, numbers: range, words: int = 80) -> None:
    rows = [json.dumps({"id": f"{name}-{number}", "text": text_of(number, words)}) for number in numbers]
    (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")


def built(pool: LocalPool, folder: Path, name: str, **step: Any) -> BuildRecord:
    read = {"jsonl": {"id_field": "id"}}
    recipe = {
        "name": name,
        "sources": {"web": {"read": read, "inputs": [str(folder / f"{name}.jsonl")]}},
        "across": [{"near_duplicates": {"survivors": ["first"], **step}}],
        "tokenizer": {"vocabulary_size": 300},
    }
    lake = Lake.open(str(folder / "lake"))
    runner = DirectRunner(lake, pool, lambda label, done, total: None)
    record = make_corpus(runner, resolve(parse_recipe(recipe, "x")))
    point(lake, f"corpus/{name}", Reference("build", record.key, record.digest))
    return record


@pytest.mark.parametrize("step", [{}, {"similarity": "containment", "threshold": 1.0}])
def test_what_an_earlier_corpus_has_is_not_kept_again(pool: LocalPool, tmp_path: Path, step: dict[str, Any]) -> None:
    write(tmp_path, "a", range(40))
    write(tmp_path, "b", range(30, 60), words=79)  # ten of them are those of the first, without the last word
    write(tmp_path, "c", range(55, 70), words=78)
    first = built(pool, tmp_path, "a", **step)
    lake = Lake.open(str(tmp_path / "lake"))
    second = built(pool, tmp_path, "b", **step, against=["corpus/a"])
    assert (first.documents, second.documents) == (40, 20)
    [history] = histories_of(lake, second, "web/b-35", tmp_path / "cache")
    assert history.outcome == "near_duplicates:dropped:near_duplicate"
    assert history.compared["match"] == "web/a-35" and history.compared["similarity"] > 0.9
    assert histories_of(lake, second, "web/b-45", tmp_path / "cache")[0].outcome == ""
    [near] = collect_report(lake, second, tmp_path / "cache").near_duplicates
    assert near.gone == 10
    third = built(pool, tmp_path, "c", **step, against=["corpus/a", "corpus/b"])
    assert third.documents == 10
    if "similarity" not in step:
        name, key = second.artifacts["earlier/corpus/a/signatures"]
        assert third.artifacts["earlier/corpus/a/signatures"] == (name, key), "the earlier corpus is not signed again"
        assert read_manifest(lake, name, key) is not None


def test_an_earlier_document_of_the_same_id_is_told_apart(pool: LocalPool, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, name, range(5 if name == "a" else 10))
        lines = (tmp_path / f"{name}.jsonl").read_text().replace(f'"id": "{name}-', '"id": "same-')
        (tmp_path / f"{name}.jsonl").write_text(lines)
    built(pool, tmp_path, "a")
    lake = Lake.open(str(tmp_path / "lake"))
    second = built(pool, tmp_path, "b", against=["corpus/a"])
    assert second.documents == 5
    [history] = histories_of(lake, second, "web/same-3", tmp_path / "cache")
    assert (history.compared["match"], history.compared["match_known"]) == ("web/same-3", True)
    [near] = collect_report(lake, second, tmp_path / "cache").near_duplicates
    assert all((pair.left.kept, pair.right.kept) == (False, True) for pair in near.pairs) and near.gone == 5
    inputs = second.manifest(lake, "across/near_duplicates").inputs
    assert "earlier/corpus/a/documents" in inputs


def test_only_a_step_across_that_compares_takes_earlier_builds(tmp_path: Path) -> None:
    source = {"read": "jsonl", "inputs": ["x"]}
    own = {"name": "x", "sources": {"web": {**source, "steps": [{"near_duplicates": {"against": ["corpus/a"]}}]}}}
    with pytest.raises(Unresolved, match=r"against: list near_duplicates in across"):
        resolve(parse_recipe(own, "x"))
    itself = {"name": "a", "sources": {"web": source}, "across": [{"near_duplicates": {"against": ["corpus/a"]}}]}
    with pytest.raises(Unresolved, match="names the builds of this recipe"):
        resolve(parse_recipe(itself, "x"))
    exact = {"name": "x", "sources": {"web": source}, "across": [{"exact_duplicates": {"against": ["corpus/a"]}}]}
    with pytest.raises(RecipeError, match="exact_duplicates does not compare documents with those of other builds"):
        parse_recipe(exact, "x")
