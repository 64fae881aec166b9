"""Two runs compared: the same, and each way in which they can differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infra.store.lake import Lake
from model.analysis.comparison import Comparison, compare_runs, compare_steps
from model.checkpoints.files import write_file
from model.checkpoints.manifest import Checkpoint, checkpoint_folder, commit
from model.observers.losses import Losses, read_losses
from model.observers.records import StepRecord
from model.run.config import RunConfig, create_run
from model.run.events import Course, Lower, record
from model.state.boxes import Box, whole
from model.state.slices import Slice
from model.supervision.logbook import Logbook
from tests.model.support.small import small_run
from tests.model.support.trained import going_on_from, train_here


def step_record(step: int) -> StepRecord:
    return StepRecord(
        step=step,
        loss=5.0 / step,
        gradient_norm=1.0,
        learning_rate=1e-3,
        tokens=step * 64,
        sequences=f"digest {step}",
        first_sequence=8 * (step - 1),
        seconds=0.1 * step,
    )


RECORDS = [step_record(step) for step in range(1, 5)]


def weights() -> dict[str, Tensor]:
    return {
        "embedding.tokens.weight": torch.arange(12, dtype=torch.float32).reshape(4, 3) - 5,
        "head.norm.weight": torch.ones(3),
    }


def slices(tensors: dict[str, Tensor], rows: int) -> list[Slice]:
    """Whole tensors, or matrices cut after so many rows."""
    cut = []
    for name, tensor in tensors.items():
        shape = tuple(tensor.shape)
        if tensor.ndim < 2 or rows >= shape[0]:
            cut.append(Slice(name, "weight", shape, whole(shape), tensor))
        else:
            for first, stop in ((0, rows), (rows, shape[0])):
                box = Box((first, 0), (stop - first, shape[1]))
                cut.append(Slice(name, "weight", shape, box, tensor[first:stop].clone()))
    return cut


class Written:
    """A run in a lake of its own, as a trainer would have left it."""

    def __init__(self, folder: Path, label: str = "") -> None:
        self.folder, self.lake = folder, Lake.open(str(folder / "lake"))
        self.config: RunConfig = small_run(self.lake, folder / "text", label=label)
        self.key = self.config.key

    def trained(
        self, records: list[StepRecord] = RECORDS, tensors: dict[str, Tensor] | None = None, rows: int = 9
    ) -> Written:
        step = records[-1].step
        Logbook(self.lake, self.key, "launch", 0).write("launch", 0, fingerprint="data")
        losses = Losses(self.lake, self.key)
        for one in records:
            losses.on_step_end(one)
        losses.commit(step)
        folder = checkpoint_folder(self.key, step)
        cut = slices(weights() if tensors is None else tensors, rows)
        file = write_file(self.lake, folder, 0, "weights", cut, {}, self.folder / "scratch")
        commit(self.lake, Checkpoint(self.key, step, "", {}, (file,)))
        return self

    def compared(self, other: Written) -> Comparison:
        return compare_runs((self.lake, self.key), (other.lake, other.key), self.folder / "cache")


def test_equal_runs_are_the_same_whatever_the_time_and_the_cut(tmp_path: Path) -> None:
    first = Written(tmp_path / "first").trained()
    second = Written(tmp_path / "second").trained([replace(one, seconds=9.0) for one in RECORDS], rows=1)
    comparison = first.compared(second)
    assert comparison.same and comparison.configuration == ()
    assert comparison.weights is not None and comparison.weights.step == 4 and comparison.weights.tensors == ()
    assert comparison.fingerprints == ("data", "data") and comparison.seeds == (7, 7)
    assert [(one.count, one.first, one.last, one.alone) for one in comparison.steps] == [(4, 1, 4, 0)] * 2
    assert {trace.field for trace in comparison.traces} >= {"loss", "gradient_norm", "sequences", "learning_rate"}
    assert comparison.to_plain()["same"] is True


def test_a_figure_that_differs_is_found(tmp_path: Path) -> None:
    changed = [*RECORDS[:2], replace(RECORDS[2], loss=RECORDS[2].loss * 1.25), replace(RECORDS[3], loss=1.2500001)]
    traces = {trace.field: trace for trace in compare_steps(RECORDS, changed)}
    assert (traces["loss"].first, traces["loss"].at) == (3, 3)
    assert traces["loss"].largest == pytest.approx(0.2)
    assert all(trace.first is None for field, trace in traces.items() if field != "loss")
    comparison = Written(tmp_path / "a").trained().compared(Written(tmp_path / "b").trained(changed))
    assert not comparison.same


def test_other_data_is_found_by_step() -> None:
    changed = [*RECORDS[:3], replace(RECORDS[3], sequences="other")]
    trace = next(trace for trace in compare_steps(RECORDS, changed) if trace.field == "sequences")
    assert (trace.first, trace.largest, trace.at) == (4, None, None)


def test_a_longer_run_is_not_the_same(tmp_path: Path) -> None:
    longer = [*RECORDS, replace(RECORDS[3], step=5)]
    first = Written(tmp_path / "a").trained()
    comparison = first.compared(Written(tmp_path / "b").trained(longer))
    assert [(one.last, one.alone) for one in comparison.steps] == [(4, 0), (5, 1)]
    assert comparison.weights is None and not comparison.same and comparison.differs == ("the recorded steps",)
    assert all(trace.first is None for trace in comparison.traces)


def test_weights_before_the_last_step_prove_nothing(tmp_path: Path) -> None:
    """Two runs that were killed after their last checkpoint: their figures agree, and nobody knows their weights."""
    runs = [Written(tmp_path / name).trained() for name in ("a", "b")]
    for one in runs:
        losses = Losses(one.lake, one.key)
        losses.on_step_end(step_record(5))
        losses.flush()
    comparison = runs[0].compared(runs[1])
    assert comparison.weights is not None and comparison.weights.step == 4
    assert comparison.differs == () and not comparison.same


def test_runs_without_a_step_are_not_called_the_same(tmp_path: Path) -> None:
    runs = [Written(tmp_path / name) for name in ("a", "b")]
    comparison = runs[0].compared(runs[1])
    assert comparison.differs == () and comparison.traces == () and not comparison.same


def test_a_run_that_goes_on_from_another_is_not_the_same(tmp_path: Path) -> None:
    """As many steps on record as the other, none of them in both, and a checkpoint of the same bits."""
    lake = Lake.open(str(tmp_path / "lake"))
    first = small_run(lake, tmp_path / "text", steps=8)
    train_here(lake, first, tmp_path / "cache")
    child = going_on_from(lake, first, 8, "child", steps=16)
    train_here(lake, child, tmp_path / "cache")
    grandchild = going_on_from(lake, child, 12, "grandchild")
    comparison = compare_runs((lake, first.key), (lake, child.key), tmp_path / "cache")
    assert comparison.weights is not None and comparison.weights.step == 8 and comparison.weights.tensors == ()
    assert [(one.first, one.last, one.alone) for one in comparison.steps] == [(1, 8, 8), (9, 16, 8)]
    assert not comparison.same and comparison.differs == ("the recorded steps",) and comparison.traces == ()
    assert comparison.origins == ((), (f"{first.key}@8",))
    later = compare_runs((lake, grandchild.key), (lake, child.key), tmp_path / "cache")
    assert later.origins[0] == (f"{child.key}@12", f"{first.key}@8") and later.steps[0].count == 0 and not later.same
    lake.delete(f"runs/{first.key}/run.json")
    assert compare_runs((lake, grandchild.key), (lake, child.key), tmp_path / "cache").origins == later.origins


@pytest.mark.parametrize(
    ("change", "largest", "relative"),
    [
        (lambda tensor: tensor.index_put((torch.tensor([3]), torch.tensor([1])), torch.tensor(5.5)), 0.5, 0.5 / 6),
        (lambda tensor: tensor.index_put((torch.tensor([1]), torch.tensor([2])), torch.tensor(-0.0)), 0.0, 0.0),
        (lambda tensor: tensor.index_put((torch.tensor([0]), torch.tensor([0])), torch.tensor(torch.nan)), None, None),
    ],
    ids=["value", "sign of zero", "not a number"],
)
def test_weights_that_differ_are_named(
    tmp_path: Path, change: Any, largest: float | None, relative: float | None
) -> None:
    tensors = weights()
    name = "embedding.tokens.weight"
    tensors[name] = change(tensors[name])
    comparison = Written(tmp_path / "a").trained().compared(Written(tmp_path / "b").trained(tensors=tensors))
    assert comparison.weights is not None and not comparison.same
    (difference,) = comparison.weights.tensors
    assert (difference.name, difference.largest) == (name, largest)
    assert difference.relative == pytest.approx(relative)


def test_tensors_of_one_run_alone_are_named(tmp_path: Path) -> None:
    tensors = {"embedding.tokens.weight": torch.zeros(4, 4), "head.output.weight": torch.zeros(2, 2)}
    comparison = Written(tmp_path / "a").trained().compared(Written(tmp_path / "b").trained(tensors=tensors))
    assert comparison.weights is not None
    assert comparison.weights.alone == ("embedding.tokens.weight", "head.norm.weight", "head.output.weight")


def test_configurations_are_compared_field_by_field(tmp_path: Path) -> None:
    first = Written(tmp_path / "a").trained()
    training = replace(first.config.training, batch=4)
    other = replace(first.config, training=training, seed=8, label="other")
    create_run(first.lake, other)
    comparison = compare_runs((first.lake, first.key), (first.lake, other.key), tmp_path / "cache")
    found = {one.field: (one.first, one.second) for one in comparison.configuration}
    assert found == {"training.batch": (8, 4), "seed": (7, 8), "label": ("", "other")}
    assert comparison.seeds == (7, 8) and comparison.fingerprints == ("data", "") and not comparison.same


def test_events_are_shown_of_both(tmp_path: Path) -> None:
    first, second = Written(tmp_path / "a").trained(), Written(tmp_path / "b").trained()
    record(second.lake, second.key, "launch", Course(8), Lower(2, "high", 0.5))
    comparison = first.compared(second)
    assert comparison.events[0] == () and comparison.events[1][0]["kind"] == "lower"
    assert read_losses(second.lake, second.key) == RECORDS
