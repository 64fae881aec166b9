"""docs/sources.md: its recipe resolves, and its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from flows.recipe import load_recipe
from infra.outcomes import Kept, read_all
from tasks.sources.github import GithubConfig, read_github

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r'```yaml title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL))
[ARCHIVE] = re.findall(r"^git archive .*$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", RECIPES)
def test_its_recipes_resolve(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(RECIPES[name], encoding="utf-8")
    sources = load_recipe(str(tmp_path / name)).sources
    assert [source.name for source in sources] == ["arxiv", "github", "books"]


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
