"""Flows: their parameters as Prefect's server gets them, and what a command does not import for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prefect.flows import load_flow_arguments_from_entrypoint
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from infra.flow import flow


class Settings(BaseModel):
    steps: tuple[int, ...] = (1, 2)


@flow(name="add-numbers")
def add(numbers: list[int], settings: Settings | None = None) -> int:
    return sum(numbers)


def test_parameters_are_plain_data() -> None:
    given = {"numbers": [1, 2], "settings": Settings(), "folder": Path("lake"), "nothing": None}
    plain = {"numbers": [1, 2], "settings": {"steps": [1, 2]}, "folder": "lake", "nothing": None}
    assert add.serialize_parameters(given) == plain
    assert add.with_options(retries=1).serialize_parameters(given) == plain
    with pytest.raises(PydanticSerializationError):
        add.serialize_parameters({"numbers": object()})


def test_a_flow_has_its_name_for_prefect_too() -> None:
    assert add.name == "add-numbers" and add.log_prints
    source = Path(__file__).parents[2] / "flows" / "build.py"
    assert load_flow_arguments_from_entrypoint(f"{source}:build_corpus", {"name"}) == {"name": "build-corpus"}


def test_no_command_pays_for_fastapi() -> None:
    program = "import sys; from flows.build import build_corpus\n"
    program += "build_corpus.serialize_parameters({'inputs': ['a']}); sys.exit('fastapi' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
