"""What a recipe leaves open: edits that a step sees, columns that it reads, floors, and parts that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.recipe.resolved import Unresolved
from tests.tasks.recipe.small import SCORE, resolved, source

LONG = {"column": "heuristics.word_count", "at_least": 50, "reason": "word_count"}
SECOND = {"second": {"stage": "language", "line_feed": " "}}


def steps(**sections: Any) -> dict[str, Any]:
    """The steps of the first source by name."""
    return {step.name: step for step in resolved(**sections).sources[0].steps}


def one(*names: Any, **more: Any) -> dict[str, Any]:
    """The section of the only source."""
    return {"web": source(*names, **more)}


def test_a_step_sees_the_edits_of_all_steps_before_it() -> None:
    found = steps(sources=one("heuristics", "paragraphs", {"again": {"stage": "paragraphs"}}, "language"))
    assert {name: step.sees for name, step in found.items()} == {
        "heuristics": (),
        "paragraphs": (),
        "again": ("paragraphs",),
        "language": ("paragraphs", "again"),
    }


def test_a_step_may_see_fewer_edits_in_their_order() -> None:
    again, third = ({name: {"stage": "paragraphs"}} for name in ("again", "third"))
    chosen = {"language": {"sees": ["again", "paragraphs"]}}
    found = steps(sources=one("paragraphs", again, third, chosen, {"heuristics": {"sees": []}}))
    assert found["language"].sees == ("paragraphs", "again")
    assert found["heuristics"].sees == ()
    # The offsets of an edit are those of the text that the edits before it left.
    without = {"language": {"sees": ["third", "paragraphs"]}}
    with pytest.raises(Unresolved, match="third edits the output of paragraphs, again"):
        resolved(sources=one("paragraphs", again, third, without))


def test_a_step_across_sees_the_edits_of_each_source_in_its_own_order() -> None:
    first, second = ({name: {"stage": "paragraphs"}} for name in ("first", "second"))
    whole = resolved(sources={"web": source(first, second), "books": source(second, first)}, across=["near_duplicates"])
    implied = {origin.name: origin.step("near_duplicates_signatures") for origin in whole.sources}
    assert implied["web"] is not None and implied["web"].sees == ("first", "second")
    assert implied["books"] is not None and implied["books"].sees == ("second", "first")


def test_the_step_that_is_read_must_be_of_the_stage_and_config_that_are_meant() -> None:
    language = {"near_duplicates": {"reads": {"signatures": "language"}}}
    with pytest.raises(Unresolved, match="language is not a step of the stage signatures"):
        resolved(sources=one("language", language))
    other = {"mine": {"stage": "signatures", "seed": 7}}
    with pytest.raises(Unresolved, match="mine has another config, or sees other edits"):
        resolved(sources=one(other, {"near_duplicates": {"reads": {"signatures": "mine"}}}))


def test_a_model_is_fitted_by_a_stage_that_its_user_understands() -> None:
    models = {"own": {"fit": "tokenizer", "on": ["web"]}}
    with pytest.raises(Unresolved, match=r"perplexity cannot use what tokenizer fits; .* by language_models"):
        resolved(models=models, sources=one("language", {"perplexity": {"model": "own"}}))


def test_a_column_is_that_of_the_only_step_of_its_stage() -> None:
    sections = {"models": {"own": {"fit": "language_models", "on": ["web"]}}}
    scored = {"perplexity": {"model": "own"}}
    assert steps(**sections, sources=one("language", scored))["perplexity"].reads == {
        "web": (("language", "language"),)
    }
    with pytest.raises(Unresolved, match="language, second are steps of that stage; choose one: reads: "):
        resolved(**sections, sources=one("language", SECOND, scored))
    meant = {"perplexity": {"model": "own", "reads": {"language": "second"}}}
    found = steps(**sections, sources=one("language", SECOND, meant))
    assert found["perplexity"].reads == {"web": (("language", "second"),)}
    with pytest.raises(Unresolved, match="no step of that stage is before it; add language"):
        resolved(**sections, sources=one(scored, "language"))
    with pytest.raises(Unresolved, match=r"web\.perplexity\.reads: second is not a step of the stage language"):
        resolved(**sections, sources=one("language", meant, SECOND))


def test_signatures_are_implied_and_see_what_their_step_sees() -> None:
    found = steps(sources=one("paragraphs", "near_duplicates"))
    assert list(found) == ["paragraphs", "near_duplicates_signatures", "near_duplicates"]
    implied = found["near_duplicates_signatures"]
    assert (implied.stage.name, implied.sees) == ("signatures", ("paragraphs",))
    assert found["near_duplicates"].reads == {"web": (("signatures", "near_duplicates_signatures"),)}
    bare = steps(sources=one("paragraphs", {"near_duplicates": {"sees": []}}))
    assert bare["near_duplicates_signatures"].sees == ()


def test_signatures_that_are_listed_are_used_where_they_are_the_same() -> None:
    listed = steps(sources=one("signatures", "near_duplicates"))
    assert list(listed) == ["signatures", "near_duplicates"]
    other = steps(sources=one({"signatures": {"shingle_words": 9}}, "near_duplicates"))
    assert list(other) == ["signatures", "near_duplicates_signatures", "near_duplicates"]
    # Of another text: those before the edit are not those behind it.
    early = steps(sources=one("signatures", "paragraphs", "near_duplicates"))
    assert early["near_duplicates"].reads == {"web": (("signatures", "near_duplicates_signatures"),)}


def test_two_steps_that_imply_the_same_share_it() -> None:
    looser = {"looser": {"stage": "near_duplicates", "threshold": 0.8, "survivors": ["all"]}}
    found = steps(sources=one("near_duplicates", looser))
    assert [name for name, step in found.items() if step.stage.name == "signatures"] == ["near_duplicates_signatures"]


def test_a_step_across_sources_implies_signatures_in_each() -> None:
    whole = resolved(sources={"web": source("paragraphs"), "books": source("signatures")}, across=["near_duplicates"])
    [step] = whole.across
    assert step.sees == ("paragraphs",)
    assert step.reads == {
        "web": (("signatures", "near_duplicates_signatures"),),
        "books": (("signatures", "signatures"),),
    }
    assert [[item.name for item in found.steps] for found in whole.sources] == [
        ["paragraphs", "near_duplicates_signatures"],
        ["signatures"],
    ]
    web, books = whole.sources
    assert whole.edits(web) == ("paragraphs",) and whole.edits(books) == ()
    assert whole.step(books, "near_duplicates") is step


def test_edits_across_sources_come_last() -> None:
    shared = {"shared": {"stage": "paragraphs"}}
    near = {"near_duplicates": {"sees": ["paragraphs"]}}
    whole = resolved(sources=one("paragraphs"), across=[shared, near])
    assert whole.edits(whole.sources[0]) == ("paragraphs", "shared")
    assert [step.sees for step in whole.across] == [("paragraphs",), ("paragraphs",)]
    # Signatures are made in each source, before any step across: they cannot be of a text that one of those edited.
    with pytest.raises(Unresolved, match=r"without the edits of shared, .* set sees: paragraphs"):
        resolved(sources=one("paragraphs"), across=[shared, "near_duplicates"])


def test_a_floor_keeps_documents_from_annotating_steps_behind_it() -> None:
    floor = {"column": "language.score", "at_least": 0.5}
    section = one(
        "heuristics", "language", "signatures", "paragraphs", "near_duplicates", rules=[SCORE], floors=[floor]
    )
    whole = resolved(sources=section)
    found = {step.name: len(step.floors) for step in whole.sources[0].steps}
    assert found == {
        "heuristics": 0,
        "language": 0,
        "signatures": 1,
        "paragraphs": 0,
        "near_duplicates_signatures": 1,
        "near_duplicates": 0,
    }
    [written] = whole.sources[0].section.floors
    assert whole.sources[0].skipped_by(written) == ("signatures", "near_duplicates_signatures")
    [known] = whole.sources[0].steps[2].engine_floors()
    assert known.column == "floor language.score" and known.annotation == "floor language"


@pytest.mark.parametrize(
    ("floor", "rule", "fits"),
    [
        ({"at_least": 0.5}, {"at_least": 0.5}, True),
        ({"at_least": 0.5}, {"at_least": 0.6}, True),
        ({"at_least": 0.5}, {"at_least": 0.4}, False),
        ({"at_least": 0.5}, {"at_least": 0.6, "missing": "passes"}, False),
        ({"at_most": 0.9}, {"at_most": 0.9}, True),
        ({"at_most": 0.9}, {"at_most": 0.95}, False),
        ({"at_least": 0.5, "at_most": 0.9}, {"at_least": 0.5}, False),
    ],
)
def test_a_floor_needs_a_rule_that_is_as_strict(floor: dict[str, Any], rule: dict[str, Any], fits: bool) -> None:
    column = {"column": "language.score"}
    section = one("language", rules=[{**column, **rule, "reason": "low"}], floors=[{**column, **floor}])
    if fits:
        resolved(sources=section)
    else:
        with pytest.raises(Unresolved, match=r"no rule is at least as strict as the floor on language\.score"):
            resolved(sources=section)


def test_labels_of_a_floor_include_those_of_its_rule() -> None:
    def with_labels(*labels: str) -> dict[str, Any]:
        rule = {"column": "language.label", "one_of": ["en", "de"], "reason": "other"}
        return one("language", rules=[rule], floors=[{"column": "language.label", "one_of": list(labels)}])

    resolved(sources=with_labels("en", "de", "fr"))
    with pytest.raises(Unresolved, match="no rule is at least as strict"):
        resolved(sources=with_labels("en"))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (source("language", "language"), "sources.web.language: two steps have this name"),
        (source("paragraphs", {"language": {"sees": ["heuristics"]}}), "there is no step heuristics before it"),
        (
            source("paragraphs", {"again": {"stage": "paragraphs", "sees": []}}),
            "a step that edits text must see all edits before it: paragraphs",
        ),
        (
            source({"near_duplicates_signatures": {"stage": "signatures", "seed": 2}}, "near_duplicates"),
            "it adds a step near_duplicates_signatures, but one of that name has another config",
        ),
        (source("perplexity", "language"), "perplexity reads language, but no step of that stage"),
        (source("language", "perplexity"), "web.perplexity: it needs a model"),
        (source(rules=[SCORE]), "sources.web.rules.low_score: the source has no step language; it has none"),
        (
            source("language", rules=[{**SCORE, "column": "language.sore"}]),
            "language has no column sore; it has label, score",
        ),
        (
            source("language", rules=[{**SCORE, "column": "language.label"}]),
            "at_least and at_most are for numbers, but language.label has type string",
        ),
        (
            source("heuristics", rules=[{"column": "heuristics.word_count", "one_of": ["a"], "reason": "x"}]),
            "one_of is for strings, but heuristics.word_count has type int64",
        ),
        (source("language", rules=[SCORE, SCORE]), "every rule needs its own reason"),
        (
            source("language", rules=[{**SCORE, "when": {"column": "heuristics.word_count", "at_least": 1}}]),
            "sources.web.rules.low_score: the source has no step heuristics",
        ),
        (
            source("language", rules=[{**SCORE, "unless": {"column": "language.label", "at_least": 1}}]),
            "at_least and at_most are for numbers, but language.label has type string",
        ),
        (
            source(
                "language",
                rules=[{**SCORE, "when": {"column": "language.label", "one_of": ["en"]}}],
                floors=[{"column": "language.score", "at_least": 0.5}],
            ),
            "no rule is at least as strict as the floor on language.score",
        ),
        (
            source("language", rules=[{**SCORE, "reason": "all_text_struck"}]),
            "the reason all_text_struck is reserved",
        ),
        (source("language", rules=[{**SCORE, "reason": "kept"}]), "the reason kept is reserved"),
        (
            source("language", rules=[SCORE], floors=[{"column": "heuristics.word_count", "at_least": 1}]),
            "sources.web.floors: the source has no step heuristics",
        ),
        (
            source(
                "paragraphs",
                rules=[{"column": "paragraphs.lines", "at_least": 3, "reason": "lines"}],
                floors=[{"column": "paragraphs.lines", "at_least": 3}],
            ),
            "paragraphs compares documents with each other",
        ),
    ],
)
def test_a_source_that_does_not_fit_is_refused(section: dict[str, Any], words: str) -> None:
    with pytest.raises(Unresolved) as refused:
        resolved(sources={"web": section})
    assert words in str(refused.value)


FIT = {"fit": "language_models", "on": ["web"]}


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"across": ["language"]}, "across.language: language reads one document at a time"),
        (
            {"sources": {"web": source("near_duplicates")}, "across": ["near_duplicates"]},
            "across.near_duplicates: a source has a step of this name",
        ),
        (
            {"across": ["near_duplicates", "near_duplicates"]},
            "across.near_duplicates: a source has a step of this name",
        ),
        ({"models": {"own": FIT}}, "models.own: no step uses it"),
        (
            {
                "models": {"own": {**FIT, "on": ["nowhere"]}},
                "sources": {"web": source("language", {"perplexity": {"model": "own"}})},
            },
            "models.own.on: there is no source or reference nowhere; there are web",
        ),
        ({"references": {"known": {"read": "jsonl"}}}, "references.known: no model is fitted on it"),
        (
            {"sources": {"web": source(share=1), "books": source(epochs=2)}},
            "give every source a share, or every source epochs",
        ),
        (
            {"sources": {"web": source("near_duplicates"), "books": source()}, "tokens": {"validation": 0.1}},
            "tokens.validation: no step finds duplicates across all sources",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(Unresolved) as refused:
        resolved(**sections)
    assert words in str(refused.value)


def test_a_validation_split_is_safe_where_all_sources_are_compared() -> None:
    tokens = {"validation": 0.1}
    apart = {name: source("near_duplicates") for name in ("web", "books")}
    with pytest.raises(Unresolved, match="duplicates across all sources"):
        resolved(sources=apart, tokens=tokens)
    resolved(sources=one("near_duplicates"), tokens=tokens)
    resolved(sources={"web": source(), "books": source()}, across=["near_duplicates"], tokens=tokens)


def test_a_rule_may_ask_for_a_column_across_sources() -> None:
    rule = {"column": "paragraphs.struck", "at_most": 9, "reason": "struck_often", "missing": "passes"}
    whole = resolved(sources=one(rules=[rule]), across=["paragraphs"])
    assert whole.sources[0].section.model_dump()["rules"][0]["reason"] == "struck_often"


def test_the_model_of_a_stage_stands_in_where_a_recipe_names_none() -> None:
    assert steps(sources=one("language"))["language"].model == "bundled:lid.176.ftz"
    assert steps(sources=one({"language": {"model": "lid.bin"}}))["language"].model == "lid.bin"
