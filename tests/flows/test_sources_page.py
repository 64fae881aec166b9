"""docs/sources.md: its recipe resolves, its command runs, and every field and reason that it names is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import application
from flows.recipe import load_recipe
from infra.outcomes import Kept, read_all
from infra.stage import StageKind
from tasks.sources.github import GithubConfig, read_github
from tasks.stages import available_stages, find_stage

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```yaml title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL))
LINES = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("millrace ")]
[ARCHIVE] = [line for line in LINES if line.startswith("git archive ")]
READERS = [stage.name for stage in available_stages(StageKind.source)]
SECTIONS = {
    name: text
    for name, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    if name in READERS
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", sorted(FILES))
def test_its_recipes_resolve(folder: Path, name: str) -> None:
    assert load_recipe(name).sources


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run(folder: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    done = CliRunner().invoke(application, arguments)
    assert program == "millrace" and done.exit_code == 0, done.output


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_its_fields_are_those_of_the_readers(name: str) -> None:
    named = {
        field
        for row in re.findall(r"^\| (`.*?) \|", SECTIONS[name], re.MULTILINE)
        for field in re.findall(r"`(\w+)`", row)
    }
    fields = set(find_stage(name, StageKind.source).config.model_fields)
    assert named <= fields
    assert fields - named <= {"source"}


def test_a_folder_becomes_an_archive(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("SPDX-License-Identifier: MIT\n")
    (tmp_path / "a.py").write_text("x = 1\n")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    subprocess.run(shlex.split(ARCHIVE), cwd=tmp_path, check=True)
    with (tmp_path / "project.tar").open("rb") as stream:
        outcomes = list(read_all(read_github(stream, "project.tar", GithubConfig())))
    [document] = [outcome.document for outcome in outcomes if isinstance(outcome, Kept)]
    assert (document.metadata["path"], document.licence) == ("project/a.py", "MIT")


def test_every_reader_has_a_section() -> None:
    assert {*SECTIONS, "web_archive", "jsonl", "parquet"} == {*READERS}
