"""From a recipe to the tasks of its build: which steps share a read, what each task needs, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.engine.fit_groups import FitGroupsPlan
from infra.engine.graph import BuildTask
from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import PassPlan
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, Part
from tasks.corpus.comparison import Comparison
from tasks.corpus.duplicates import DuplicatesStep
from tasks.corpus.rules import Floor
from tasks.language import identify_language
from tasks.model_files import model_files
from tasks.pipeline import build_tasks, token_tasks
from tasks.recipe.passes import passes
from tasks.recipe.resolved import Unresolved
from tests.tasks.recipe.small import SCORE, recipe, resolved, source

OWN = {"own": {"fit": "language_models", "on": ["web"]}}
SCORED = {"perplexity": {"model": "own"}}
SPACED = {"spaced": {"stage": "language", "line_feed": " "}}


def tasks_of(**sections: Any) -> dict[str, BuildTask]:
    """The tasks of a recipe by name."""
    return {task.name: task for task in build_tasks(resolved(**sections))}


def reads(*steps: Any, models: dict[str, Any] | None = None, **more: Any) -> list[list[str]]:
    """The steps of a source, those that share a read together."""
    whole = resolved(models=models or {}, sources={"web": source(*steps, **more)})
    return [[step.name for step in group] for group in passes(whole.sources[0], whole.recipe.models)]


def manifest(stage: str, parts: int = 1, rows: int = 3) -> Manifest:
    """An artifact of so many parts, which nobody reads."""
    made = tuple(
        Part(
            sha256="0" * 64, bytes=1, rows=rows, content=f"{stage}{number}", name=f"{stage}#{number}", suffix=".parquet"
        )
        for number in range(parts)
    )
    return Manifest(stage, stage, stage, 1, {}, {}, {}, {}, made, Account(), {}, {}, "2026")


def test_a_step_edits_only_where_its_config_says_so() -> None:
    counting, masking = {"personal_data": {}}, {"personal_data": {"mask": ["email"]}}
    assert reads("language", counting, "heuristics") == [["language", "personal_data", "heuristics"]]
    assert reads("language", masking, "heuristics") == [["language", "personal_data"], ["heuristics"]]
    sees = [
        resolved(sources={"web": source(step, "heuristics")}).sources[0].steps[-1].sees for step in (counting, masking)
    ]
    assert sees == [(), ("personal_data",)]


def test_neighbours_that_see_the_same_share_a_read() -> None:
    assert reads("language", "heuristics", SPACED) == [["language", "heuristics", "spaced"]]
    assert reads("paragraphs", "language", "heuristics") == [["paragraphs"], ["language", "heuristics"]]
    assert reads("language", "paragraphs", "heuristics") == [["language"], ["paragraphs"], ["heuristics"]]


def test_a_step_that_sees_other_edits_reads_again() -> None:
    unseeing = {"heuristics": {"sees": []}}
    assert reads("paragraphs", "language", unseeing) == [["paragraphs"], ["language"], ["heuristics"]]


def test_a_step_that_reads_a_column_waits_for_it() -> None:
    given = {"perplexity": {"model": "some.bin"}}
    assert reads("language", "heuristics", given) == [["language", "heuristics"], ["perplexity"]]
    assert reads("language", SPACED, {"perplexity": {"model": "x", "reads": {"language": "language"}}}) == [
        ["language", "spaced"],
        ["perplexity"],
    ]


def test_two_steps_that_mean_different_steps_by_one_name_read_apart() -> None:
    one, other = (
        {name: {"stage": "perplexity", "model": "x", "reads": {"language": meant}}}
        for name, meant in (("plain", "language"), ("glued", "spaced"))
    )
    assert reads("language", SPACED, one, other) == [["language", "spaced"], ["plain"], ["glued"]]
    same = {"glued": {"stage": "perplexity", "model": "y", "reads": {"language": "language"}}}
    assert reads("language", SPACED, one, same) == [["language", "spaced"], ["plain", "glued"]]


def test_a_floor_begins_a_read() -> None:
    more = {"rules": [SCORE], "floors": [{"column": "language.score", "at_least": 0.5}]}
    assert reads("language", "heuristics", "signatures", **more) == [["language"], ["heuristics", "signatures"]]


def test_a_step_that_waits_for_a_model_starts_a_read_of_its_own() -> None:
    assert reads("language", "heuristics", SCORED, models=OWN) == [["language", "heuristics"], ["perplexity"]]
    # Nothing before it holds it up, but the heuristics need not wait for the model.
    languages = ("language", SPACED, "heuristics")
    assert reads(*languages, {"perplexity": {"model": "own", "reads": {"language": "language"}}}, models=OWN) == [
        ["language", "spaced", "heuristics"],
        ["perplexity"],
    ]


def test_steps_that_wait_for_one_model_share_a_read() -> None:
    second = {"again": {"stage": "perplexity", "model": "own"}}
    assert reads("language", SCORED, "signatures", second, models=OWN) == [
        ["language"],
        ["perplexity", "signatures", "again"],
    ]


def test_two_steps_of_one_stage_are_two_artifacts() -> None:
    task = tasks_of(sources={"web": source("language", SPACED)})["web: language + spaced"]
    assert task.makes == ("web/language", "web/spaced")
    plan = task.plan(Lake("unused"), {"web/documents": manifest("documents")})
    assert isinstance(plan, PassPlan)
    assert plan.names == ["language", "language"]
    assert len(set(plan.keys)) == 2
    assert [item.config.model_dump()["line_feed"] for item in plan.configured] == ["", " "]


def test_a_build_is_made_in_order_and_everything_it_needs_is_made() -> None:
    tasks = build_tasks(
        resolved(
            models={"own": {"fit": "language_models", "on": ["web", "known"]}},
            references={"known": {"read": "jsonl", "steps": ["language"]}},
            sources={
                "web": source("paragraphs", "language", SCORED, "near_duplicates", rules=[SCORE]),
                "books": source("heuristics"),
            },
            across=[{"shared": {"stage": "near_duplicates", "survivors": ["source"]}}],
        )
    )
    made: set[str] = set()
    for task in tasks:
        assert set(task.needs) <= made, task.name
        assert not made & set(task.makes), task.name
        assert task.modules, task.name
        made |= set(task.makes)
    assert made == {
        *("known/documents", "known/ids", "known/language", "models/own"),
        *(f"web/{name}" for name in ("documents", "paragraphs", "language", "perplexity", "near_duplicates")),
        *("web/near_duplicates_signatures", "web/rules", "web/corpus", "web/encode"),
        *(f"books/{name}" for name in ("documents", "heuristics", "shared_signatures", "rules", "corpus", "encode")),
        *("ids", "across/shared", "index", "groups", "outcomes", "tokenizer", "tokens"),
    }


def test_what_needs_no_model_comes_before_it_is_fitted() -> None:
    names = list(
        tasks_of(models=OWN, sources={"web": source("language", SCORED), "books": source("heuristics", "language")})
    )
    assert names[:7] == [
        "web: jsonl",
        "books: jsonl",
        "ids",
        "web: language",
        "books: heuristics + language",
        "fit own",
        "web: perplexity",
    ]


def test_a_model_is_fitted_on_what_stands_before_its_first_use() -> None:
    tasks = tasks_of(models=OWN, sources={"web": source("paragraphs", "language", SCORED, SPACED)})
    assert tasks["fit own"].needs == ("web/documents", "web/paragraphs", "web/language", "ids")
    made = {name: manifest(name) for name in tasks["fit own"].needs}
    plan = tasks["fit own"].plan(Lake("unused"), made)
    assert isinstance(plan, FitGroupsPlan)
    [view] = plan.views
    assert [name for name, _ in view.edits] == ["paragraphs"]
    assert [(name, item.manifest.key) for name, item in view.annotations] == [
        ("language", "web/language"),
        ("floor ids", "ids"),
    ]
    assert [(floor.column, floor.at_most) for floor in view.floors] == [("floor ids.copy", 0)]


def test_a_model_reads_the_last_step_of_a_stage_before_its_first_use() -> None:
    reading = {"perplexity": {"model": "own", "reads": {"language": "language"}}}
    tasks = tasks_of(models=OWN, sources={"web": source("language", SPACED, reading)})
    assert tasks["fit own"].needs == ("web/documents", "web/spaced", "ids")


def test_a_model_on_a_source_without_its_columns_is_refused() -> None:
    models = {"own": {"fit": "language_models", "on": ["web", "books"]}}
    with pytest.raises(Unresolved, match=r"models\.own: language_models reads language, but books has no step"):
        resolved(models=models, sources={"web": source("language", SCORED), "books": source("heuristics")})


def test_a_step_needs_its_model_and_what_it_sees() -> None:
    tasks = tasks_of(models=OWN, sources={"web": source("paragraphs", "language", SCORED)})
    assert set(tasks["web: perplexity"].needs) == {"web/documents", "web/paragraphs", "web/language", "models/own"}
    assert tasks["web: paragraphs"].needs == ("web/documents", "ids")
    unseen = tasks_of(models=OWN, sources={"web": source("paragraphs", {"language": {"sees": []}}, SCORED)})
    assert unseen["web: language"].needs == ("web/documents",)


def test_rules_read_the_steps_of_their_conditions() -> None:
    rule = {"column": "heuristics.word_count", "at_least": 50, "reason": "short"}
    condition = {"column": "language.label", "one_of": ["en"]}
    tasks = tasks_of(sources={"web": source("language", "heuristics", rules=[{**rule, "when": condition}])})
    assert tasks["web: rules"].needs == ("web/documents", "web/heuristics", "web/language")


def test_a_floor_is_part_of_the_view() -> None:
    floored = source("language", "heuristics", rules=[SCORE], floors=[{"column": "language.score", "at_least": 0.5}])
    tasks = tasks_of(sources={"web": floored})
    made = {name: manifest(name) for name in ("web/documents", "web/language")}
    plan = tasks["web: heuristics"].plan(Lake("unused"), made)
    assert isinstance(plan, PassPlan)
    [floor] = plan.view.floors
    assert (floor.column, floor.at_least) == ("floor language.score", 0.5)
    assert [(name, item.manifest.key) for name, item in plan.view.annotations] == [("floor language", "web/language")]
    rules = tasks["web: rules"].plan(Lake("unused"), made | {"web/heuristics": manifest("web/heuristics")})
    assert isinstance(rules, PassPlan)
    assert rules.configured[0].config.model_dump()["floors"] == (
        Floor(column="language.score", at_least=0.5, steps=("heuristics",)).model_dump(),
    )


def test_signatures_of_near_duplicates_share_the_read_of_their_neighbours() -> None:
    assert reads("paragraphs", "language", "near_duplicates") == [
        ["paragraphs"],
        ["language", "near_duplicates_signatures"],
        ["near_duplicates"],
    ]


def across_made() -> dict[str, Manifest]:
    """Artifacts of two sources, the first of three shards and the second of two."""
    return {
        "web/documents": manifest("web", 3),
        "books/documents": manifest("books", 2),
        **{f"{name}/shared_signatures": manifest(f"{name}s", count) for name, count in (("web", 3), ("books", 2))},
        "ids": manifest("ids", 5),
        "across/shared": manifest("shared", 5),
        "web/rules": manifest("web_rules", 3),
        "books/rules": manifest("books_rules", 2),
        "outcomes": manifest("outcomes", 5),
    }


ACROSS: dict[str, Any] = {
    "sources": {"web": source(), "books": source()},
    "across": [{"shared": {"stage": "near_duplicates"}}],
}


def test_a_step_across_sees_the_shards_of_all_sources_in_order() -> None:
    task = tasks_of(**ACROSS)["all sources: shared"]
    plan = task.plan(Lake("unused"), across_made())
    assert isinstance(plan, PartitionedPlan)
    assert [view.source for view in plan.views] == ["web", "books"]
    assert [shard.documents.name for view in plan.views for shard in view.shards()] == [
        *("web#0", "web#1", "web#2"),
        *("books#0", "books#1"),
    ]


def test_what_is_of_all_sources_is_counted_from_the_shards_of_those_before() -> None:
    tasks = tasks_of(**ACROSS)
    assert "web/documents" in tasks["books: corpus"].needs and "books/documents" not in tasks["web: corpus"].needs
    found = {}
    for name in ("web", "books"):
        plan = tasks[f"{name}: corpus"].plan(Lake("unused"), across_made())
        shards = plan.view.shards()  # type: ignore[attr-defined]
        found[name] = [dict(shard.annotations)["outcomes"].name for shard in shards]
    assert found == {"web": ["outcomes#0", "outcomes#1", "outcomes#2"], "books": ["outcomes#3", "outcomes#4"]}


def test_an_edit_across_sources_reaches_the_corpus_of_each_and_the_steps_behind() -> None:
    tasks = tasks_of(
        sources={"web": source(), "books": source()},
        across=[{"lines": {"stage": "paragraphs"}}, {"near_duplicates": {"sees": []}}],
    )
    made = {**across_made(), "across/lines": manifest("lines", 5)}
    plan = tasks["books: corpus"].plan(Lake("unused"), made)
    shards = plan.view.shards()  # type: ignore[attr-defined]
    assert [[part.name for part in shard.edits] for shard in shards] == [["lines#3"], ["lines#4"]]
    assert "across/lines" not in tasks["all sources: near_duplicates"].needs
    assert "across/lines" in tasks["web: rules"].needs


def outcomes_of(**sections: Any) -> tuple[BuildTask, tuple[DuplicatesStep, ...]]:
    """The task of the outcomes and the steps that it chooses by."""
    task = tasks_of(**sections)["outcomes"]
    plan = task.plan(Lake("unused"), {name: manifest(name) for name in task.needs})
    assert isinstance(plan, PartitionedPlan)
    return task, plan.configured.config.duplicates  # type: ignore[attr-defined]


def test_survivors_are_chosen_per_source_and_then_across() -> None:
    near = {"near_duplicates": {"survivors": ["earliest"]}}
    task, duplicates = outcomes_of(
        sources={"web": source(near), "books": source("near_duplicates"), "notes": source()},
        across=[{"shared": {"stage": "near_duplicates", "survivors": ["source"]}}],
    )
    compare = Comparison(threshold=0.8, words=5, bands=18, rows=7)
    assert duplicates == (
        DuplicatesStep(
            step="near_duplicates", reason="near_duplicate", survivors=("earliest",), source="web", compare=compare
        ),
        DuplicatesStep(
            step="near_duplicates",
            reason="near_duplicate",
            survivors=("longest", "earliest"),
            source="books",
            compare=compare,
        ),
        DuplicatesStep(step="shared", reason="near_duplicate", survivors=("source",), compare=compare),
    )
    assert {"groups", "web/near_duplicates", "books/near_duplicates", "across/shared", "notes/rules"} <= set(task.needs)


def test_outcomes_read_what_is_there() -> None:
    task, duplicates = outcomes_of(sources={"web": source("near_duplicates"), "books": source()})
    assert [item.source for item in duplicates] == ["web"]
    assert "books/near_duplicates" not in task.needs


def test_rules_read_only_what_they_ask_for() -> None:
    tasks = tasks_of(sources={"web": source("paragraphs", "language", "heuristics", rules=[SCORE])})
    assert tasks["web: rules"].needs == ("web/documents", "web/paragraphs", "web/language")
    plan = tasks["web: rules"].plan(Lake("unused"), {name: manifest(name) for name in tasks["web: rules"].needs})
    assert isinstance(plan, PassPlan)
    assert plan.view.edits == (), "a rule sees the text as stored, and the edits as columns"


def test_an_own_tokenizer_is_fitted_and_a_given_one_is_not(tmp_path: Path) -> None:
    names = [task.name for task in token_tasks(recipe(tokenizer={"vocabulary_size": 300}))]
    assert names == ["tokenizer", "web: encode", "tokens"]
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    given = {task.name: task for task in token_tasks(recipe(tokenizer={"file": str(file)}))}
    assert list(given) == ["web: encode", "tokens"]
    assert given["web: encode"].needs == ("web/corpus",)
    plan = given["web: encode"].plan(Lake("unused"), {"web/corpus": manifest("corpus")})
    assert isinstance(plan, PassPlan)
    assert list(plan.configured[0].models.identity()) == ["tokenizer.json"]


def test_tokens_take_the_shares_of_the_recipe() -> None:
    shared = recipe(sources={"web": source(share=3), "books": source(share=1)}, tokenizer={"vocabulary_size": 300})
    *_, task = token_tasks(shared)
    assert set(task.needs) == {"tokenizer", "web/corpus", "web/encode", "books/corpus", "books/encode"}


def test_a_recipe_is_the_same_tasks_every_time() -> None:
    one, other = (tasks_of(**ACROSS) for _ in range(2))
    assert {name: (task.makes, task.needs) for name, task in one.items()} == {
        name: (task.makes, task.needs) for name, task in other.items()
    }
    plans = [tasks["outcomes"].plan(Lake("unused"), across_made()) for tasks in (one, other)]
    assert plans[0].keys == plans[1].keys


def test_models_are_named_files_or_folders(tmp_path: Path) -> None:
    assert list(model_files(identify_language, "bundled:lid.176.ftz").local) == ["lid.176.ftz"]
    with pytest.raises(ValueError, match=r"no bundled model is called lid\.177\.ftz; there are lid\.176\.ftz"):
        model_files(identify_language, "bundled:lid.177.ftz")
    with pytest.raises(ValueError, match=r"there is no file .*nothing\.bin; give a file, or bundled:lid\.176\.ftz"):
        model_files(identify_language, str(tmp_path / "nothing.bin"))
    with pytest.raises(ValueError, match="there is no file"):
        model_files(identify_language, str(tmp_path))
    (tmp_path / "text.bin").write_text("no model")
    for name in (tmp_path, tmp_path / "text.bin"):
        with pytest.raises(ValueError, match=r"text\.bin is not a fastText model"):
            model_files(identify_language, str(name))
