"""`millrace plan training`, as typed."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from flows.cli.plan import plan_commands

KEYS = {
    "parameters",
    "memory_per_gpu_bytes",
    "tokens_per_second_per_gpu",
    "gpu_hours",
    "days",
    "megawatt_hours",
    "tonnes_co2e",
    "layout",
}
application = typer.Typer()
application.add_typer(plan_commands, name="plan")


def run(*arguments: str):
    return CliRunner().invoke(application, ["plan", "training", *arguments])


def answer(*arguments: str) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_json():
    values = answer("pythia-1b", "--gpus", "64", "--gpu", "a100-40gb")
    assert values.keys() >= KEYS
    assert values["parameters"] == 1_011_781_632
    assert values["fits"] and values["memory_per_gpu_bytes"] < 40e9
    layout = values["layout"]
    assert layout["data"] * layout["tensor"] * layout["pipeline"] == 64
    speeds = [other["tokens_per_second_per_gpu"] for other in values["alternatives"]]
    assert speeds == sorted(speeds, reverse=True) and max(speeds) <= values["tokens_per_second_per_gpu"]


def test_a_layout_of_ones_own():
    layout = "tensor=2,pipeline=4,zero=1,micro_batch=4,recompute=whole"
    values = answer("neox-20b", "--gpus", "96", "--gpu", "a100-40gb", "--layout", layout)
    assert values["layout"] | {"tensor": 2, "pipeline": 4, "data": 12, "recompute": "whole"} == values["layout"]
    assert values["accumulation"] == 32 and values["fits"]


def test_batch_and_precision():
    ours = answer("pythia-14m", "--gpus", "1", "--gpu", "h200", "--precision", "bf16", "--batch", "512")
    assert ours["precision"] == "bf16" and ours["tokens"] == 299_892_736_000


def test_for_people():
    result = run("neox-20b", "--gpus", "96", "--gpu", "a100-40gb", "--layout", "tensor=2,pipeline=4,micro_batch=4")
    assert result.exit_code == 0
    for words in ("Memory of the fullest GPU", "gradients", "Time of a step", "bubble", "MWh", "Other layouts", "Not"):
        assert words in result.stdout


def test_misses_are_told():
    result = run("neox-20b", "--gpus", "8", "--gpu", "a100-40gb", "--layout", "tensor=8,recompute=whole")
    assert result.exit_code == 0 and "It does not fit" in result.stdout


def test_slips():
    for arguments, words in (
        (("pythia-1b", "--gpus", "8", "--gpu", "a100"), "there is no GPU type 'a100'"),
        (("pythia-3b", "--gpus", "8", "--gpu", "h100"), "there is no preset 'pythia-3b'"),
        (("pythia-1b", "--gpus", "8", "--gpu", "h100", "--layout", "tensor"), "is not KEY=VALUE"),
        (("pythia-1b", "--gpus", "8", "--gpu", "h100", "--layout", "tensor=16,data=1"), "16 ranks on 8 GPUs"),
        (
            ("pythia-1b", "--gpus", "8", "--gpu", "h100", "--layout", "pipeline=2,zero=3"),
            "ZeRO stage 0 or 1, and zero is 3",
        ),
        (("pythia-1b", "--gpus", "1", "--gpu", "v100-32gb", "--precision", "bf16"), "does not support bf16"),
    ):
        result = run(*arguments, "--json")
        assert result.exit_code == 1
        assert words in json.loads(result.stdout)["error"]
