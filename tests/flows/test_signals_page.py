"""docs/signals.md: its recipes resolve, and each section has the columns of its stage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.recipe import load_recipe
from tasks.stages import STEPS, available_stages, find_stage

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "signals.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```(?:yaml|text) title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL))
STAGES = {stage.name for stage in available_stages(*STEPS)}
SECTIONS = {
    name: text
    for name, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    if name in STAGES
}


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if name.endswith(".yaml")])
def test_its_recipes_resolve(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, text in FILES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(name).sources


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_its_columns_are_those_of_the_stage(name: str) -> None:
    schema = find_stage(name, *STEPS).schema
    assert schema is not None
    table = SECTIONS[name].split("![](")[0]
    named = {
        column for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for column in re.findall(r"`(\w+)`", row)
    }
    assert named == set(schema.names) - {"failed"}
    assert f"![](images/signals/{name}.svg)" in SECTIONS[name]
