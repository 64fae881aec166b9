"""docs/sources.md: its recipe resolves, its command runs, and every field and reason that it names is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import application
from flows.recipe import load_recipe
from infra.stage import StageKind
from tasks.stages import find_stage

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```yaml title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


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
