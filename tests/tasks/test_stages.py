"""Stages are found by name, in the packages of Millrace and in those that the environment names."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.stage import Stage, StageKind
from tasks.language import identify_language
from tasks.near_duplicates import near_duplicates
from tasks.stages import PACKAGES_VARIABLE, STEPS, NoStage, available_stages, find_stage, module_of

SHOUTING = """
import pyarrow as pa
from infra.stage import StageConfig, StageKind, stage

class ShoutingConfig(StageConfig):
    mark: str = "!"

@stage("shouting", version=1, kind=StageKind.annotate, config=ShoutingConfig, schema=pa.schema([("loud", pa.bool_())]))
def shouting(documents, config):
    return pa.table({"loud": [config.mark in text for text in documents["text"].to_pylist()]})
"""


def names(*kinds: StageKind) -> list[str]:
    """The names of all stages of some kinds."""
    return [stage.name for stage in available_stages(*kinds)]


def test_a_stage_is_found_by_the_name_of_its_file() -> None:
    assert find_stage("language", *STEPS) is identify_language
    assert find_stage("near_duplicates", *STEPS) is near_duplicates
    assert module_of(identify_language) == "tasks.language"


def test_stages_are_listed_by_kind() -> None:
    assert names(*STEPS) == [
        *(
            "blocklists",
            "c4_lines",
            "contamination",
            "exact_duplicates",
            "heuristics",
            "language",
            "near_duplicates",
            "opt_outs",
            "paragraphs",
        ),
        *("perplexity", "repeated_substrings", "rights", "robots", "signatures", "tdmrep", "url_duplicates", "urls"),
    ]
    assert names(StageKind.source) == [
        *("arxiv", "books", "github", "jsonl", "parquet", "reddit", "site_files", "stack_exchange", "web_archive"),
        *("wet", "wikipedia"),
    ]
    assert "language_models" in names(StageKind.fit)


@pytest.mark.parametrize("name", ["unheard_of", "jsonl", "settings", "../language", "tasks.language", "Language", ""])
def test_what_is_no_stage_of_that_kind_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(
        NoStage,
        match=r"there is no annotate or partitioned stage .*: there are blocklists, c4_lines, contamination,",
    ):
        find_stage(name, *STEPS)


def test_a_package_of_ones_own_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_stages"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shouting.py").write_text(SHOUTING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(PACKAGES_VARIABLE, "own_stages")
    found = find_stage("shouting", *STEPS)
    assert isinstance(found, Stage) and module_of(found) == "own_stages.shouting"
    assert "shouting" in names(*STEPS) and "language" in names(*STEPS)


def test_a_package_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PACKAGES_VARIABLE, "no_such_package")
    with pytest.raises(NoStage, match=r"no_such_package.* cannot be imported \(ModuleNotFoundError"):
        find_stage("unheard_of", *STEPS)
