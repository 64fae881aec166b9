"""Declarations: which columns the steps of a stage read, what it gives, and what enters its keys."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from infra.documents import EDITS_TYPE
from infra.stage import StageConfig, StageKind, find_stage, stage
from tests.infra.engine import toy


class Config(StageConfig):
    """A config that decides which column is read."""

    column: str = "language.label"
    partitions: int = 1


def declare(schema: list[tuple[str, pa.DataType]], **more: Any) -> Any:
    """A stage with these columns."""
    declaration = stage("made", version=1, kind=StageKind.annotate, config=Config, schema=pa.schema(schema), **more)
    return declaration(lambda documents, config: documents)


def test_columns_may_follow_from_the_config() -> None:
    made = declare([("x", pa.int64())], columns=lambda config: ["text", config.column, "language.score"])
    assert made.columns_of(Config()) == ["text", "language.label", "language.score"]
    assert made.reads(Config()) == ["language"] and made.reads_text(Config())
    assert made.reads(Config(column="heuristics.words")) == ["heuristics", "language"]


def test_a_stage_without_the_text_says_so() -> None:
    assert not declare([("x", pa.int64())], columns=["id", "language.label"]).reads_text(Config())
    assert declare([("x", pa.int64())]).columns_of(Config()) == ["text"], "the default"


def test_the_steps_of_a_partitioned_stage_read_for_themselves() -> None:
    config = toy.ToyConfig()
    assert toy.letter_counts.columns_of(config, "map") == ["text"]
    assert toy.letter_counts.reads(config) == [] and toy.letter_counts.reads_text(config)
    assert list(toy.letter_counts.order(config)) == ["place", "shorten", "count"]
    assert list(toy.word_counts.order(config)) == ["reduce"]


def test_columns_say_whether_a_stage_edits_or_clusters() -> None:
    edits, clusters = declare([("edits", EDITS_TYPE)]), declare([("cluster", pa.string())])
    assert (edits.gives_edits, edits.gives_clusters) == (True, False)
    assert (clusters.gives_edits, clusters.gives_clusters) == (False, True)
    assert not toy.read_lines.gives_edits


def test_identity_is_of_name_version_config_libraries_and_models() -> None:
    made = declare([("x", pa.int64())], libraries=["pyarrow"])
    found = made.identity(Config(column="a.b"), {"model.bin": "0" * 64})
    assert found == {
        "stage": "made",
        "version": 1,
        "config": {"column": "a.b", "partitions": 1},
        "libraries": {"pyarrow": pa.__version__},
        "models": {"model.bin": "0" * 64},
    }


def test_a_declaration_that_cannot_be_run_is_refused() -> None:
    with pytest.raises(ValueError, match="must declare the schema of its columns"):
        stage("made", version=1, kind=StageKind.annotate, config=Config)
    with pytest.raises(ValueError, match="the column 'failed' must be a string"):
        declare([("failed", pa.bool_())])


def test_a_stage_is_found_by_its_reference() -> None:
    assert find_stage("tests.infra.engine.toy:word_counts") is toy.word_counts
    with pytest.raises(TypeError, match="toy:ToyConfig is not a stage but a"):
        find_stage("tests.infra.engine.toy:ToyConfig")
