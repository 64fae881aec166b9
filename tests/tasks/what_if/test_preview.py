"""What-if: its prediction is what the build then gives, for changes of any rule, and its samples are what changes."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.pool import LocalPool
from infra.engine.shards import PartReader
from infra.store.lake import Lake
from tasks.builds import BuildRecord
from tasks.recipe.overrides import replace_values
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe
from tasks.report.history import histories_of
from tasks.report.judged import BuildParts, judged_shards
from tasks.what_if.arrivals import Arrivals, encoder_of
from tasks.what_if.judging import NotScored
from tasks.what_if.preview import IN_CORPUS, Preview, preview
from tests.tasks.report.conftest import GERMAN, DirectRunner

Base = tuple[Lake, Recipe, BuildRecord]
STEPS = [
    {"paragraphs": {"files_per_group": 4}},
    "language",
    "heuristics",
    {"near_duplicates": {"threshold": 0.6, "survivors": ["longest"]}},
]
RULES = [
    {"column": "language.score", "at_least": 0.3, "reason": "language"},
    {"column": "heuristics.word_count", "at_least": 40, "at_most": 2000, "reason": "length"},
    {"column": "heuristics.mean_word_length", "at_least": 3, "at_most": 10, "reason": "words"},
    {"column": "heuristics.stop_word_count", "at_least": 2, "reason": "stop"},
]


def texts() -> list[str]:
    """Prose of several lengths, German ones, near-duplicates in chains, and texts without sense."""
    chance = random.Random(12)
    prose = [" ".join(topics[name].split()) for name in sorted(topics)]
    found = [text[: chance.randrange(100, 3000)] for text in prose[:50]]
    found += [GERMAN * number for number in (1, 2, 3)]
    for text in prose[50:60]:
        words = text.split()[:120]
        found += [" ".join(words), " ".join(words + ["more"] * 12), " ".join(words[15:] + ["again"] * 20)]
    return [*found, *(f"{number} {number * 7} ##" * 30 for number in range(6))]


def recipe(folder: Path, tokenizer: Path) -> Recipe:
    documents = texts()
    sources: dict[str, Any] = {}
    for name, own in (("web", documents[::2]), ("more", documents[1::2])):
        (folder / name).mkdir()
        for number in range(2):
            lines = (json.dumps({"text": text}) + "\n" for text in own[number::2])
            (folder / name / f"{number}.jsonl").write_text("".join(lines))
        sources[name] = {"read": "jsonl", "inputs": [str(folder / name)], "steps": STEPS, "rules": RULES}
    return parse_recipe({"name": "small", "sources": sources, "tokenizer": {"file": str(tokenizer)}}, "small")


def made(lake: Lake, pool: LocalPool, resolved: ResolvedRecipe) -> BuildRecord:
    return make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), resolved)


def kept_by(lake: Lake, build: BuildRecord, cache: Path) -> dict[tuple[str, str | None], tuple[int, int]]:
    """Documents and tokens that a build kept, by source and language."""
    parts = BuildParts({name: build.manifest(lake, name) for name in build.artifacts}, tuple(build.sources))
    found: dict[tuple[str, str | None], tuple[int, int]] = {}
    for source in parts.sources:
        for shard in judged_shards(PartReader(lake, cache), parts, source, {"language": ["label"]}):
            for row in shard.to_pylist():
                documents, tokens = found.get((source, row["language.label"]), (0, 0))
                found[source, row["language.label"]] = (documents + row["kept"], tokens + row["tokens"])
    return {name: counts for name, counts in found.items() if counts[0]}


@pytest.fixture(scope="module")
def base(pool: LocalPool, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("what-if")
    values = recipe(folder, shared_data / "tokenizers" / "neox-20B_tokenizer.json")
    lake = Lake.open(str(folder / "lake"))
    return lake, values, made(lake, pool, resolve(values))


def changed(values: Recipe, **settings: Any) -> ResolvedRecipe:
    given = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    return resolve(replace_values(values, given, "small"))


def previewed(lake: Lake, pool: LocalPool, build: BuildRecord, resolved: ResolvedRecipe, cache: Path) -> Preview:
    return preview(lake, pool, build, resolved, cache, lambda label, done, total: None)


def random_settings(chance: random.Random) -> dict[str, Any]:
    choices = {
        "sources__web__rules__language__at_least": round(chance.uniform(0.1, 0.95), 2),
        "sources__more__rules__length__at_least": chance.randrange(5, 300),
        "rules__length__at_most": chance.randrange(320, 3000),
        "rules__words__at_least": round(chance.uniform(3, 5), 2),
        "sources__web__rules__stop__at_least": chance.randrange(0, 8),
        "near_duplicates__survivors": chance.choice(["[shortest]", "[first]", "[all]"]),
    }
    return {key: choices[key] for key in chance.sample(sorted(choices), 2)}


def test_ten_random_changes_give_what_was_predicted(base: Base, pool: LocalPool, tmp_path: Path) -> None:
    lake, values, build = base
    # The builds are made where no prediction was: the lake keeps the verdicts of a prediction.
    apart = Lake.open(str(shutil.copytree(lake.uri, tmp_path / "apart")))
    chance = random.Random(10)
    moved = 0
    for _ in range(10):
        settings = random_settings(chance)
        resolved = changed(values, **settings)
        found = previewed(lake, pool, build, resolved, tmp_path)
        then = made(apart, pool, resolved)
        assert (found.total.documents, found.total.tokens) == (build.documents, build.tokens)
        assert (found.total.documents_then, found.total.tokens_then) == (then.documents, then.tokens), settings
        predicted = {
            (name.source, name.language): (amount.documents_then, amount.tokens_then)
            for name, amount in found.groups
            if amount.documents_then
        }
        assert predicted == kept_by(apart, then, tmp_path), settings
        comes = sum(change.documents for change in found.changes if change.after == IN_CORPUS)
        goes = sum(change.documents for change in found.changes if change.before == IN_CORPUS)
        assert comes - goes == then.documents - build.documents
        moved += comes + goes
        for change in found.changes:
            for sample in change.samples:
                [life] = histories_of(apart, then, sample.document.id, tmp_path)
                assert (life.to_json()["fate"] == "kept") == (change.after == IN_CORPUS)
                assert sample.text
    assert moved > 30


def test_nothing_changed_predicts_the_build(base: Base, pool: LocalPool, tmp_path: Path) -> None:
    lake, values, build = base
    found = previewed(lake, pool, build, resolve(values), tmp_path)
    assert not found.differences
    assert not found.changes
    assert found.total.documents == found.total.documents_then == build.documents
    assert found.total.tokens == found.total.tokens_then == build.tokens


def test_samples_name_the_values_that_decide(base: Base, pool: LocalPool, tmp_path: Path) -> None:
    lake, values, build = base
    found = previewed(lake, pool, build, changed(values, rules__length__at_least=150), tmp_path)
    wanted = ("web", IN_CORPUS, "heuristics:dropped:length")
    [change] = [one for one in found.changes if (one.source, one.before, one.after) == wanted]
    assert len(change.samples) == 3
    for sample in change.samples:
        assert 40 <= sample.document.values["heuristics.word_count"] < 150
    json.dumps(found.to_json())


def test_a_policy_shows_its_cost_before_it_is_built(base: Base, pool: LocalPool, tmp_path: Path) -> None:
    lake, values, build = base
    policy = {"column": "heuristics.mean_word_length", "at_most": 5, "reason": "policy"}
    plain = values.model_dump(mode="json")
    for source in plain["sources"].values():
        source["rules"].append(policy)
    found = previewed(lake, pool, build, resolve(Recipe.model_validate(plain)), tmp_path)
    assert found.changes
    assert {one.after for one in found.changes} == {"heuristics:dropped:policy"}  # duplicates that went, too
    cost = sum(one.tokens for one in found.changes if one.before == IN_CORPUS)
    assert cost == found.total.tokens - found.total.tokens_then > 0
    samples = [sample.document.values["heuristics.mean_word_length"] for one in found.changes for sample in one.samples]
    assert min(samples) > 5


def test_another_tokenizer_is_told(base: Base, pool: LocalPool, shared_data: Path, tmp_path: Path) -> None:
    lake, values, build = base
    other = shared_data / "tokenizers" / "sp_test_model.model"
    resolved = changed(values, tokenizer__file=other, tokenizer__end_of_document="</s>")
    assert previewed(lake, pool, build, resolve(values), tmp_path).notes == ()
    [note] = previewed(lake, pool, build, resolved, tmp_path).notes
    assert note == "Tokens are those of the build's tokenizer; a build would encode with the other one."


@pytest.mark.parametrize(
    ("settings", "lacking"),
    [
        ({"sources__web__heuristics__decimals": 4}, "web/heuristics"),
        ({"near_duplicates__threshold": 0.7}, "near_duplicates"),
        ({"sources__web__read__min_characters": 9}, "the build did not read web in this way"),
    ],
)
def test_what_has_to_be_scored_is_named(
    base: Base, pool: LocalPool, tmp_path: Path, settings: dict[str, Any], lacking: str
) -> None:
    lake, values, build = base
    with pytest.raises(NotScored, match=f"this change has to be built: .*{lacking}"):
        previewed(lake, pool, build, changed(values, **settings), tmp_path)


def test_many_arrivals_are_estimated_and_told(base: Base, pool: LocalPool, tmp_path: Path) -> None:
    lake, values, build = base
    reader = PartReader(lake, tmp_path)
    tokens = build.manifest(lake, "tokens")
    parts = BuildParts({name: build.manifest(lake, name) for name in build.artifacts}, tuple(build.sources))
    encoder = encoder_of(reader, tokens, {"end_of_document": "<|endoftext|>"})
    exact = Arrivals(reader, encoder, {"web": ["paragraphs"]})
    rough = Arrivals(reader, encoder, {"web": ["paragraphs"]}, most_bytes=1)
    rows = list(range(5))
    counted = exact.tokens("web", 0, np.array(rows), parts)
    assert (rough.tokens("web", 0, np.array(rows), parts) == counted).all()
    assert exact.estimated == rough.estimated == 0
    guessed = rough.tokens("web", 0, np.array(rows), parts)
    assert rough.estimated == guessed.sum()
    assert guessed.sum() == pytest.approx(counted.sum(), rel=0.05)
