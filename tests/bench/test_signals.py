"""docs/signals.md has a section for every annotating stage, with the distributions of its columns as a picture.

`tests/flows/test_signals_page.py` looks at the rows of its tables.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
import yaml

from flows.recipe import parse_recipe, resolve_recipe
from infra.stage import Stage, StageKind
from tasks.stages import available_stages
from tests.bench.pictures import FOLDER, draw, pictures
from tests.bench.records import ROOT, read_records
from tests.bench.signals import MEASURED, UNMEASURED, annotate, describe

PAGE = (ROOT / "docs" / "signals.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
# Its columns are keys by which documents are compared: see docs/recipes.md.
NO_SIGNALS = {"signatures"}
STAGES = [stage for stage in available_stages(StageKind.annotate) if stage.name not in NO_SIGNALS]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_is_explained_and_shown(stage: Stage) -> None:
    assert stage.name in SECTIONS, f"docs/signals.md has no section ## {stage.name}"
    section = SECTIONS[stage.name]
    assert stage.schema is not None
    if stage.name in UNMEASURED:
        assert "svg" not in section and f"no picture: it needs {UNMEASURED[stage.name]}" in section
        return
    assert f"(images/signals/{stage.name}.svg)" in section
    assert stage.name in {step.stage for step in MEASURED}, f"add {stage.name} to MEASURED in tests/bench/signals.py"
    shown = read_records()["signals"].values["stages"]
    again = "run python -m tests.bench signals --record docs/results, then make docs"
    assert list(shown.get(stage.name, ())) == stage.schema.names, again


def test_stages_that_are_not_measured_are_there() -> None:
    assert set(UNMEASURED) <= {stage.name for stage in STAGES}


def test_pictures_are_those_of_the_record() -> None:
    drawn = pictures(read_records())
    assert set(drawn) == set(FOLDER.glob("*.svg"))
    assert {f"{name}.svg" for name in re.findall(r"\(images/signals/(\w+)\.svg\)", PAGE)} == {
        place.name for place in drawn
    }
    for place, picture in drawn.items():
        assert place.read_text(encoding="utf-8") == picture, f"{place.name} differs from the record: run `make docs`"


def test_the_recipe_of_the_page_resolves() -> None:
    [text] = re.findall(r'```yaml title="signals.yaml"\n(.*?)```', PAGE, re.DOTALL)
    [web] = resolve_recipe(parse_recipe(yaml.safe_load(text), "signals.yaml"), "signals.yaml").sources
    assert [step.name for step in web.steps] == ["language", "heuristics", "c4"]


def test_distributions_count_every_document() -> None:
    numbers = describe(pa.chunked_array([[0.0, 0.5, 1.0, None, float("nan")]]), (0.2, None))
    assert (sum(numbers["counts"]), numbers["zeros"], numbers["missing"]) == (3, 1, 2)
    assert describe(pa.chunked_array([[1, 2, 2, 900]]))["logarithmic"]
    assert describe(pa.chunked_array([[0, 2, 2]]))["counts"] == [1, 0, 2]
    labels = describe(pa.chunked_array([["a", "b", "a", None]]))
    assert labels == {"labels": [["a", 2], ["b", 1]], "others": 0, "missing": 1}
    assert sum(describe(pa.chunked_array([[[1, 2], []]]))["counts"]) == 2
    assert describe(pa.chunked_array([[None, None]], pa.float64()))["missing"] == 2


def test_a_picture_shows_labels_as_they_are_and_says_what_is_missing() -> None:
    column = describe(pa.chunked_array([["<b>", None]]))
    drawn = draw("made", {"label": column, "number": describe(pa.chunked_array([[3, None]]))})
    assert "&lt;b&gt;" in drawn and "1 without a value" in drawn and drawn.startswith("<svg ")


def test_any_annotating_stage_can_be_measured() -> None:
    documents = pa.table({"text": ["The mill stands by the river.", ""], "language.label": ["en", None]})
    for step in MEASURED:
        if step.stage in ("language", "heuristics", "c4", "personal_data"):
            assert annotate(step, documents).num_rows == 2
