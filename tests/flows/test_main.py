"""The list of commands: each tells how it is used, quickly, without what it takes to carry it out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flows.cli.main import application
from tests.flows.conftest import Millrace

README = Path(__file__).resolve().parents[2] / "README.md"
HEAVY = ("torch", "prefect", "pyarrow", "numpy", "pydantic", "transformers", "deepspeed", "ray")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group below one, by its words."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(application)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_tells_how_it_is_used(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(application, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    assert f"Usage: {' '.join(('millrace', *words))}" in done.output


def test_every_option_has_words() -> None:
    for words, command in COMMANDS.items():
        assert command.help, words
        for parameter in command.params:
            told = getattr(parameter, "help", None)
            assert told and told.endswith("."), (words, parameter.name, told)


def test_all_that_was_promised_is_there() -> None:
    lines = "train stop save-now change compare generate export import trace cost runs evaluate report"
    groups = {("plan", "training"), ("launch", "machine"), ("launch", "kubernetes"), ("recipe", "check")}
    assert {(name,) for name in lines.split()} | groups <= set(COMMANDS)


def test_what_the_readme_calls_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    called = re.findall(r"^millrace ([a-z-]+)", text, re.MULTILINE)
    assert called and {(name,) for name in called} <= set(COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, flows.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_script_itself_shows_its_help() -> None:
    done = Millrace(dict(os.environ)).run("--help")
    assert done.returncode == 0 and "save-now" in done.stdout and "Traceback" not in done.stderr
