"""The README's everyday commands run as they stand there, on the demo's corpus; its pictures and links exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tasks.demo.crawl import make_crawl
from tests.flows.conftest import Millrace

README = Path(__file__).resolve().parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(millrace: Millrace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after the first part of `make demo`."""
    folder = tmp_path_factory.mktemp("readme")
    make_crawl(folder / "crawl")
    millrace.json("build", "demo", "--input", str(folder / "crawl"), "--lake", str(folder / "lake"))
    return folder


@pytest.mark.usefixtures("ports_of_machine")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_works_as_shown(command: str, folder: Path, millrace: Millrace) -> None:
    name, *arguments = shlex.split(command)
    assert name == "millrace"
    done = millrace.run(*arguments, MILLRACE_LAKE=str(folder / "lake"))
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout


def test_everything_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (README.parent / target).exists(), target


def test_the_first_commands_are_targets_of_the_makefile() -> None:
    makefile = README.with_name("Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
