"""Configurations without torch, and as Pydantic reads them: the form of a flow is made from them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import Any

import pydantic
import pytest

from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.optim.scaler import ScalerConfig
from model.optim.schedule import CheckpointSchedule, Schedule
from model.optim.spikes import SpikePolicy
from model.presets import preset, preset_names
from model.run.hyperparameters import TrainingConfig, ValidationConfig

CONFIGURATIONS = [
    TrainingConfig,
    ValidationConfig,
    Layout,
    AdamWConfig,
    ScalerConfig,
    Schedule,
    CheckpointSchedule,
    SpikePolicy,
]
TORCH_FREE = ["model.run.hyperparameters", "model.layout"]


@pytest.mark.parametrize("module", TORCH_FREE)
def test_configurations_are_imported_without_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit(sorted(sys.modules.keys() & {{'torch', 'deepspeed', 'prefect'}}) or 0)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("kind", CONFIGURATIONS, ids=lambda kind: kind.__name__)
def test_every_field_is_explained_in_the_schema(kind: type[Any]) -> None:
    assert is_dataclass(kind)
    properties = pydantic.TypeAdapter(kind).json_schema()["properties"]
    for field in fields(kind):
        assert properties[field.name]["description"] == field.metadata["description"]
        assert field.metadata["description"].endswith(".")


def test_limits_are_shown_and_held_by_pydantic_and_without_it() -> None:
    schema = pydantic.TypeAdapter(Layout).json_schema()["properties"]
    assert (schema["zero"]["minimum"], schema["zero"]["maximum"], schema["data"]["minimum"]) == (0, 3, 1)
    with pytest.raises(pydantic.ValidationError, match="less than or equal to 3"):
        pydantic.TypeAdapter(Layout).validate_python({"engine": "deepspeed", "zero": 4})
    with pytest.raises(ValueError, match="layout: zero is 4; it must be at least 0 and at most 3"):
        Layout("deepspeed", zero=4)
    with pytest.raises(ValueError, match="spikes: lower is nan; it must be above 0 and at most 1"):
        SpikePolicy(lower=float("nan"))


@pytest.mark.parametrize("name", preset_names())
def test_pydantic_reads_a_preset_as_run_json_does(name: str) -> None:
    from model.configuration import from_plain

    values = preset(name)["training"]
    assert pydantic.TypeAdapter(TrainingConfig).validate_python(values) == from_plain(TrainingConfig, values, "")


def test_pydantic_reports_rules_between_fields_and_unknown_fields() -> None:
    values = preset("tiny-pythia")["training"]
    with pytest.raises(pydantic.ValidationError, match="fp16 needs a scaler"):
        pydantic.TypeAdapter(TrainingConfig).validate_python({**values, "precision": "fp16"})

    class Request(pydantic.BaseModel, extra="forbid"):
        training: TrainingConfig
        layout: Layout = Layout()

    with pytest.raises(pydantic.ValidationError, match=r"layout\.ranks"):
        Request.model_validate({"training": values, "layout": {"ranks": 2}})
    with pytest.raises(pydantic.ValidationError, match=r"training\.schedule\.speed"):
        Request.model_validate({"training": {**values, "schedule": {**values["schedule"], "speed": 1}}})
