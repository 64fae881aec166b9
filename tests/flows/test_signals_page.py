"""docs/signals.md: its recipes resolve, and each section has a row for every column of its stage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.recipe import load_recipe
from tasks.stages import STEPS, available_stages

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "signals.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```(?:yaml|text) title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL))
STAGES = {stage.name: stage for stage in available_stages(*STEPS)}
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if name.endswith(".yaml")])
def test_its_recipes_resolve(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, text in FILES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    (tmp_path / "ldnoobw").mkdir()
    (tmp_path / "ldnoobw" / "en").write_text("mill\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(name).sources


@pytest.mark.parametrize("name", [name for name in SECTIONS if name in STAGES])
def test_every_column_of_a_stage_has_a_row(name: str) -> None:
    schema = STAGES[name].schema
    assert schema is not None
    table = re.split(r"!\[|\(no picture", SECTIONS[name])[0]
    named = [
        column for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for column in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(named) == sorted(set(schema.names) - {"failed"})
