"""Two gloo ranks with ZeRO-1 against one process of plain PyTorch: losses, gradient norms and every gradient."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All cases of two ranks, computed in one launch."""
    out = tmp_path_factory.mktemp("ranks") / "found.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.model.launched", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("architecture", ["pythia", "llama"])
def test_gradients_of_two_ranks_are_those_of_one_process(found: dict[str, Any], architecture: str) -> None:
    """20 steps, each from the same weights on both sides; every tensor, max |Δ| / max |reference|."""
    case = found[f"{architecture}, restored"]
    assert case["gradient"] <= TOLERANCE
    assert case["loss"] <= TOLERANCE and case["norm"] <= TOLERANCE


@pytest.mark.parametrize("architecture", ["pythia", "llama"])
def test_two_ranks_learn_as_one_process(found: dict[str, Any], architecture: str) -> None:
    """20 steps on their own, updates included; the loss falls, so the comparison is of a model that learns."""
    case = found[architecture]
    assert case["loss"] <= TOLERANCE and case["norm"] <= TOLERANCE
    assert case["losses"][0] - case["losses"][-1] >= 0.5


@pytest.mark.parametrize("control", ["a rank's data swapped", "a micro-batch read twice", "summed"])
def test_wrong_gradients_are_seen(found: dict[str, Any], control: str) -> None:
    """Negative controls: the comparison must fail for each, by far."""
    assert found[control]["gradient"] > 1000 * TOLERANCE


def test_summed_gradients_hide_from_the_loss(found: dict[str, Any]) -> None:
    """Why gradients are compared and not losses alone."""
    assert found["summed"]["loss"] <= TOLERANCE
