"""Every layout on 1, 2 and 4 gloo ranks against one process of plain PyTorch: losses, gradient norms, all gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.model.parity_cases import CASES, CONTROLS

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5
RESTORED = [(world, name) for world, cases in CASES.items() for name, case in cases.items() if case.restored]
RIGHT = [one for one in RESTORED if one[1] not in CONTROLS]
FREE = [(world, name) for world, cases in CASES.items() for name, case in cases.items() if not case.restored]


class Launches:
    """All cases of a world size are computed in one launch, when the first of them is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, dict[str, Any]] = {}

    def __call__(self, world: str, name: str) -> dict[str, Any]:
        if world not in self.found:
            out = self.folder / f"{world}.json"
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", world]
            command += ["-m", "tests.model.launched", world, str(out)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stderr[-4000:]
            self.found[world] = json.loads(out.read_text(encoding="utf-8"))
        return self.found[world][name]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Launches:
    return Launches(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize(("world", "name"), RIGHT)
def test_a_layout_has_the_gradients_of_one_process(found: Launches, world: str, name: str) -> None:
    """20 steps, each from the same weights on both sides; every tensor, max |Δ| / max |reference|."""
    case = found(world, name)
    assert case["gradient"] <= TOLERANCE
    assert case["loss"] <= TOLERANCE and case["norm"] <= TOLERANCE
    assert case["losses"][0] - case["losses"][-1] >= 0.5
    # Steps in which a ReLU stood at its kink have no gradient to compare.
    assert len(case["losses"]) == 20 and case["compared"] >= 8


@pytest.mark.parametrize(("world", "name"), FREE)
def test_two_ranks_learn_as_one_process(found: Launches, world: str, name: str) -> None:
    """20 steps on their own, updates included."""
    case = found(world, name)
    assert case["loss"] <= TOLERANCE
    assert case["losses"][0] - case["losses"][-1] >= 0.5


@pytest.mark.parametrize("control", CONTROLS)
def test_wrong_gradients_are_seen(found: Launches, control: str) -> None:
    """Negative controls: the comparison must fail for each, by far."""
    assert found("2", control)["gradient"] > 1000 * TOLERANCE


def test_summed_gradients_hide_from_the_loss(found: Launches) -> None:
    """Why gradients are compared and not losses alone."""
    assert found("2", "summed")["loss"] <= TOLERANCE
