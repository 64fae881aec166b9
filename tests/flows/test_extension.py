"""A stage and a source from a package of somebody else, in a corpus that is built, explained and reported.

No file of the repository knows them: the recipe names them, and MILLRACE_STAGES names their package.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.conftest import Millrace

ANNOTATOR = '''
"""How much of a text is written in capitals."""

import pyarrow as pa
import pydantic

from infra.stage import StageConfig, StageKind, stage


class ShoutingConfig(StageConfig):
    decimals: int = pydantic.Field(3, ge=0, le=9, description="Digits that are kept.")


@stage(
    "shouting",
    version=1,
    kind=StageKind.annotate,
    config=ShoutingConfig,
    schema=pa.schema([("capitals", pa.float64())]),
    describe=lambda columns: [f"{columns['capitals']:.1%} of its letters are capitals"],
)
def measure_shouting(documents: pa.Table, config: ShoutingConfig) -> pa.Table:
    shares = []
    for text in documents["text"].to_pylist():
        letters = [letter for letter in text if letter.isalpha()]
        capitals = sum(letter.isupper() for letter in letters)
        shares.append(round(capitals / max(len(letters), 1), config.decimals))
    return pa.table({"capitals": shares})
'''
EDITOR = '''
"""Strikes a word wherever it stands."""

import re

import pyarrow as pa

from infra.documents import EDITS_TYPE
from infra.stage import StageConfig, StageKind, stage


class CensorConfig(StageConfig):
    word: str = "secret"


@stage("censor", version=1, kind=StageKind.annotate, config=CensorConfig, schema=pa.schema([("edits", EDITS_TYPE)]))
def strike_word(documents: pa.Table, config: CensorConfig) -> pa.Table:
    pattern = re.compile(re.escape(config.word.encode()))
    edits = [
        [{"start": found.start(), "end": found.end(), "replacement": ""} for found in pattern.finditer(text.encode())]
        for text in documents["text"].to_pylist()
    ]
    return pa.table({"edits": pa.array(edits, EDITS_TYPE)})
'''
READER = '''
"""A document for each line of a text file."""

from collections.abc import Iterator
from typing import BinaryIO

from infra.outcomes import Document, Dropped, Kept, Outcome
from infra.stage import StageConfig, StageKind, stage


class TextLinesConfig(StageConfig):
    source: str = "lines"


@stage("text_lines", version=1, kind=StageKind.source, config=TextLinesConfig)
def read_text_lines(stream: BinaryIO, name: str, config: TextLinesConfig) -> Iterator[Outcome]:
    for number, line in enumerate(stream):
        text = line.decode().strip()
        if not text:
            yield Dropped("empty", len(line), f"{name}, line {number}")
        else:
            yield Kept(Document(f"{config.source}/{number}", text, None, None, config.source, None), len(line))
'''
LINES = [
    "A quiet line about the mill and its river.",
    "",
    "A LOUD LINE ABOUT THE MILL!",
    "A secret line of the secret mill.",
    "secret",
]


@pytest.fixture
def extension(millrace: Millrace, tmp_path: Path) -> Millrace:
    """The command with a package of stages of somebody else."""
    package = tmp_path / "site" / "their_stages"
    package.mkdir(parents=True)
    for name, text in (("__init__", ""), ("shouting", ANNOTATOR), ("censor", EDITOR), ("text_lines", READER)):
        (package / f"{name}.py").write_text(text)
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    added = {"MILLRACE_STAGES": "their_stages", "PYTHONPATH": os.pathsep.join(paths)}
    return Millrace({**millrace.environment, **added})


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n")
    values: dict[str, Any] = {
        "name": "toy",
        "sources": {
            "lines": {
                "read": "text_lines",
                "inputs": [str(tmp_path / "lines.txt")],
                "steps": ["censor", {"shouting": {"decimals": 2}}],
                "rules": [{"column": "shouting.capitals", "at_most": 0.5, "reason": "shouting"}],
            }
        },
        "tokenizer": {"vocabulary_size": 300},
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_stage_and_a_source_of_somebody_else(extension: Millrace, recipe: Path, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    checked = extension.run("recipe", "check", str(recipe))
    assert checked.returncode == 0 and "text_lines" in checked.stdout and "shouting" in checked.stdout
    built = extension.json("build", str(recipe), "--lake", lake)
    [read, *_, censored, shouting, corpus] = built["ledger"]
    assert (read["documents_in"], read["dropped"]) == (5, {"empty": 1})
    assert (censored["stage"], censored["dropped"]) == ("censor", {"all_text_struck": 1})
    assert censored["bytes_struck"] == 3 * len("secret")
    assert (shouting["stage"], shouting["dropped"]) == ("shouting", {"shouting": 1})
    assert corpus["documents_kept"] == built["documents"] == 2

    told = extension.run("explain", "lines/2", "--lake", lake).stdout
    assert "100.0% of its letters are capitals" in told and "dropped by shouting" in told
    assert extension.json("explain", "lines/3", "--lake", lake)["documents"][0]["characters_viewed"] < len(LINES[3])
    assert "all_text_struck" in extension.run("explain", "lines/4", "--lake", lake).stdout

    reported = extension.run("report", "corpus/toy", "--lake", lake, "--folder", str(tmp_path / "reports"))
    assert reported.returncode == 0, reported.stderr
    [page] = (tmp_path / "reports").glob("toy-*.html")
    assert "shouting" in page.read_text() and "lines/shouting" in page.read_text()
    assert extension.json("verify", "corpus/toy", "--lake", lake)["faults"] == []

    # A value of theirs is set as one of ours, and only what stands on it is made again.
    again = extension.json("build", str(recipe), "--lake", lake, "--set", "shouting.decimals=1")
    assert again["digest"] == built["digest"]
    assert again["artifacts"]["lines/censor"] == built["artifacts"]["lines/censor"]
    assert again["artifacts"]["lines/shouting"]["key"] != built["artifacts"]["lines/shouting"]["key"]


def test_without_their_package_the_recipe_is_refused(millrace: Millrace, recipe: Path, tmp_path: Path) -> None:
    refused = millrace.run("build", str(recipe), "--lake", str(tmp_path / "lake"))
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "there is no source stage text_lines" in refused.stderr
