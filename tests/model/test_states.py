"""The state under every ZeRO stage, pipeline and precision: taken, perturbed, put back, and read by other layouts.

Also what a discarded gradient, an evaluation, a loss scale and clipping leave behind; all of it in fp16 too, which
DeepSpeed is told that this processor can do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.store.lake import Lake
from model.engine.deepspeed import DeepSpeedEngine
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.optim.precision import Precision
from tests.model.support.state_cases import CASES, WORLDS, run_key
from tests.model.support.states_launched import MISTAKES, OVERFLOW

ROOT = Path(__file__).resolve().parents[2]
ALL = [(world, name) for world in WORLDS for name in CASES[world]]
# A loss, and a gradient. bf16 rounds to 2⁻⁹ and fp16 to 2⁻¹²; a gradient has some dozen roundings behind it.
TOLERANCES = {"fp32": (1e-5, 1e-5), "bf16": (1e-3, 5e-2), "fp16": (1e-4, 1e-2)}


class Launches:
    """All cases of a world size are computed in one launch, after those of the larger worlds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, dict[str, Any]] = {}
        Lake.open(str(folder / "lake"))

    def __call__(self, world: str, name: str) -> dict[str, Any]:
        for earlier in WORLDS[: WORLDS.index(world) + 1]:
            if earlier not in self.found:
                self.found[earlier] = self.launch(earlier)
        return self.found[world][name]

    def launch(self, world: str) -> dict[str, Any]:
        out = self.folder / f"{world}.json"
        command = [sys.executable, "-m", "model.agent", "20", "--ranks", world]
        command += ["-m", "tests.model.support.states_launched", world, str(self.folder), str(out), *CASES[world]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr[-4000:]
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Launches:
    return Launches(tmp_path_factory.mktemp("states"))


@pytest.mark.parametrize(("world", "name"), ALL)
def test_a_start_is_that_of_one_process(found: Launches, world: str, name: str) -> None:
    """Bitwise, also in lower precision: masters are the initial weights in fp32, moments are zero."""
    assert found(world, name)["started"] == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_zero_3_starts_tensor_by_tensor(found: Launches, precision: str) -> None:
    """Never a whole stage on a rank: its own share, and one tensor in fp32."""
    start = found("2", f"start, {precision}")
    slack = 2048  # the rotary table
    assert start["before"] <= start["share"] + start["largest"] + slack < start["whole"]
    assert start["putting"] <= start["largest"] + slack


@pytest.mark.parametrize(("world", "name"), ALL)
def test_the_state_survives_a_round_trip(found: Launches, world: str, name: str) -> None:
    """Through a checkpoint into an engine that held something else: bitwise the state, and bitwise the next step.

    The engine that went on had discarded gradients and evaluated in between, so neither leaves a trace.
    """
    case = found(world, name)
    assert case["restored"] == []
    assert case["repeated"] == []


@pytest.mark.parametrize(("world", "name"), [one for one in ALL if CASES[one[0]][one[1]].controls])
def test_what_is_not_put_back_is_seen(found: Launches, world: str, name: str) -> None:
    """Negative controls: moments, AdamW's count, fp32 weights, the weights that products are computed with."""
    assert found(world, name)["noticed"] == sorted(MISTAKES)


@pytest.mark.parametrize(("world", "name"), ALL)
def test_a_discarded_gradient_leaves_the_state(found: Launches, world: str, name: str) -> None:
    case = found(world, name)
    assert case["discarded"] == []
    assert case["overflowed"] == ([OVERFLOW] if CASES[world][name].precision == "fp16" else [])


@pytest.mark.parametrize(("world", "name"), ALL)
def test_a_layout_computes_as_one_process(found: Launches, world: str, name: str) -> None:
    """In its precision: evaluations of one and three micro-batches, loss, norm and gradients of a step."""
    case, (scalar, gradient) = found(world, name), TOLERANCES[CASES[world][name].precision]
    assert case["evaluation"] <= scalar and case["loss"] <= scalar and case["norm"] <= scalar
    assert case["gradient"] <= gradient


@pytest.mark.parametrize(("world", "name"), ALL)
def test_gradients_are_clipped_as_in_one_process(found: Launches, world: str, name: str) -> None:
    """AdamW's first moment after one update is (1 - β₁) times what clipping left, so it shows the norm that was used.

    It is clipped to a hundredth in one engine and not at all in the other.
    """
    case = found(world, name)
    assert case["moment"] <= TOLERANCES[CASES[world][name].precision][1]
    assert case["clipped norm"] <= 1e-5
    assert case["unclipped"] <= 1e-6


@pytest.mark.parametrize(("world", "name"), [one for one in ALL if CASES[one[0]][one[1]].precision == "fp16"])
def test_the_loss_scale_is_not_in_the_gradient(found: Launches, world: str, name: str) -> None:
    """Eight times the scale, the same gradient but for what fp16 cannot hold at the smaller one."""
    assert found(world, name)["scales"] <= 1e-3


@pytest.mark.parametrize(("world", "name"), ALL)
def test_other_layouts_read_it(found: Launches, world: str, name: str) -> None:
    """Each reads, bit for bit, its own state and that of every layout launched before it, larger worlds included."""
    architecture, read = CASES[world][name].architecture, found(world, name)["read"]
    before = ALL[: ALL.index((world, name)) + 1]
    assert set(read) >= {run_key(*one) for one in before if CASES[one[0]][one[1]].architecture == architecture}
    assert found(world, name)["misread"] == []


@pytest.mark.heavy
@pytest.mark.parametrize("world", WORLDS)
def test_every_layout_reads_every_other(found: Launches, world: str) -> None:
    """With all states in the lake, those of smaller worlds too."""
    found(*ALL[-1])
    launched = found.launch(world)
    for name in CASES[world]:
        case = launched[name]
        architecture = CASES[world][name].architecture
        assert len(case["read"]) == sum(CASES[size][one].architecture == architecture for size, one in ALL)
        assert case["misread"] == [], name


@pytest.mark.parametrize(
    ("name", "without"),
    [("borders, tensor 2", "data 1, tensor 2, ZeRO 0, fp32"), ("borders, pipeline 2", "pipeline 2, ZeRO 0, fp32")],
)
def test_borders_of_documents_are_seen(found: Launches, name: str, without: str) -> None:
    """Of the same weights and tokens the loss is another one."""
    assert abs(found("2", name)["first loss"] - found("2", without)["first loss"]) > 1e-3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_needs_zero(precision: Precision) -> None:
    stage: Any = SimpleNamespace(layout=Layout(engine="deepspeed"))
    config = AdamWConfig((0.9, 0.95), 1e-8, 0.1, 1.0)
    with pytest.raises(ValueError, match=f"layout: zero is 0 with {precision}; use 1 or more"):
        DeepSpeedEngine(stage, stage, config, 1, precision)
