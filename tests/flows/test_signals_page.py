"""docs/signals.md: its recipes resolve, and each section has a row for every column of its stage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.recipe import load_recipe
from tasks.stages import STEPS, available_stages

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "signals.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```yaml title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL))
STAGES = {stage.name: stage for stage in available_stages(*STEPS)}
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", list(FILES))
def test_its_recipes_resolve(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    (tmp_path / "ldnoobw").mkdir()
    (tmp_path / "ldnoobw" / "en").write_text("mill\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(name).sources


@pytest.mark.parametrize("name", [name for name in SECTIONS if name in STAGES])
def test_every_column_of_a_stage_has_a_row(name: str) -> None:
    schema = STAGES[name].schema
    assert schema is not None
    rows = re.findall(r"^\| `(\w+)` \|", SECTIONS[name].partition("![]")[0], re.MULTILINE)
    assert rows == schema.names
