"""docs/recipes.md: its recipes resolve, and its commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import application
from flows.recipe import load_recipe, parse_recipe
from tasks.recipe.resolve import resolve

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```yaml title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_recipes_resolve(folder: Path) -> None:
    two = load_recipe("two-sources.yaml")
    assert two.recipe.shares() == {"crawl": 0.9, "books": 0.1}
    [crawl, books] = two.sources
    assert [step.name for step in crawl.steps] == [
        *("paragraphs", "language", "heuristics", "perplexity", "copies_signatures")
    ]
    # The signatures of books serve both steps that compare them.
    assert [step.name for step in books.steps] == ["near_duplicates_signatures", "near_duplicates"]
    [crawl] = resolve(parse_recipe(yaml.safe_load(FILES["ccnet.yaml"]), "ccnet.yaml")).sources
    assert [getattr(step.config, "compat", None) for step in crawl.steps] == [None, "ccnet", "ccnet"]
    assert load_recipe("parts.yaml").recipe.shares() == {"pile.pile-cc": 0.7, "pile.arxiv": 0.3}
    whole = load_recipe("twice.yaml").sources[0].step("whole")
    assert whole is not None and whole.sees == () and whole.stage.name == "heuristics"


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run(folder: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    done = CliRunner().invoke(application, arguments)
    assert program == "millrace" and done.exit_code == 0, done.output
