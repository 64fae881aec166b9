"""Every layout on 1, 2 and 4 gloo ranks against one process of plain PyTorch, both learning on their own for 20 steps.

Losses, gradient norms and all gradients are compared in every step, and after it all weights and moments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.support.parity_cases import CASES, CONTROLS, HEAVY

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20
# Of numbers |Δ| / |reference|, of a tensor max |Δ| / max |reference|, but of a weight max |Δ| / learning rate: of the
# way that 20 updates can take it, a thousandth.
TOLERANCES = {
    "loss": 1e-5,
    "norm": 1e-5,
    "gradient": 1e-5,
    "weight": STEPS * 1e-3,
    "first_moment": 1e-5,
    "second_moment": 1e-5,
}
RIGHT = [
    pytest.param(world, name, marks=[pytest.mark.heavy] if (world, name) in HEAVY else [])
    for world, cases in CASES.items()
    for name, case in cases.items()
    if not case.mistake
]
SUMMED = {"gradients summed", "gradients summed, not clipped"}
WRONG_FROM_THE_FIRST = ["a rank's data swapped", "a micro-batch read twice", "a row-parallel bias doubled"]
Found = dict[str, list[float]]


class Launches:
    """One launch computes all heavy cases of a world size, and one all others, when the first of them is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[tuple[str, bool], dict[str, Found]] = {}

    def __call__(self, world: str, name: str) -> Found:
        launch = (world, (world, name) in HEAVY)
        if launch not in self.found:
            names = [other for other in CASES[world] if ((world, other) in HEAVY) == launch[1]]
            out = self.folder / f"{world}-{launch[1]}.json"
            command = [sys.executable, "-m", "model.agent", "20", "--ranks", world]
            command += ["-m", "tests.model.support.launched", world, str(out), *names]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stderr[-4000:]
            self.found[launch] = json.loads(out.read_text(encoding="utf-8"))
        return self.found[launch][name]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Launches:
    return Launches(tmp_path_factory.mktemp("ranks"))


def faults(case: Found) -> set[str]:
    """What is not as in one process in any step; all of it must have been compared in every step."""
    assert all(len(case[name]) == STEPS for name in TOLERANCES)
    # Not by `max`, which would pass over what is not a number.
    return {name for name, most in TOLERANCES.items() if not all(found <= most for found in case[name])}


def fall(case: Found) -> float:
    """By how many nats the loss falls."""
    return case["losses"][0] - case["losses"][-1]


@pytest.mark.parametrize(("world", "name"), RIGHT)
def test_a_layout_learns_as_one_process(found: Launches, world: str, name: str) -> None:
    case = found(world, name)
    assert not faults(case)
    assert fall(case) >= 0.5


@pytest.mark.parametrize("control", sorted(CONTROLS.keys() - SUMMED))
def test_a_mistake_is_seen(found: Launches, control: str) -> None:
    """Negative controls: the comparison that right layouts pass must fail for each."""
    assert faults(found("2", control)) == TOLERANCES.keys()


@pytest.mark.parametrize(
    "control", ["a rank's data swapped", "a micro-batch read twice", "a row-parallel bias doubled"]
)
def test_wrong_gradients_are_seen_at_once(found: Launches, control: str) -> None:
    """In every step from the first on, by far."""
    assert min(found("2", control)["gradient"]) > 1000 * TOLERANCES["gradient"]


def test_clipping_hides_summed_gradients(found: Launches) -> None:
    """Negative control, and why gradients and their norms are compared: where two ranks' gradients are added up and not
    averaged, all are twice as large, and nothing else shows it.
    """
    case = found("2", "gradients summed")
    assert faults(case) == {"gradient", "norm"}
    assert case["norm"] == pytest.approx([1.0] * STEPS, abs=1e-5)
    assert case["gradient"] == pytest.approx([1.0] * STEPS, abs=1e-4)
    assert fall(case) >= 0.5


def test_adam_hides_summed_gradients_from_the_loss(found: Launches) -> None:
    """The same without clipping. AdamW divides by the gradient's size, but for its epsilon, which moves the loss little
    enough to pass for rounding.
    """
    case = found("2", "gradients summed, not clipped")
    assert faults(case) >= {"gradient", "norm"}
    assert case["norm"] == pytest.approx([1.0] * STEPS, abs=1e-2)
    assert max(case["loss"]) <= 1e-4
    assert fall(case) >= 0.5
