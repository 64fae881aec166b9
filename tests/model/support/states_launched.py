"""Started by `model.agent`: what `test_states.py` asserts about one world size, as JSON.

In each case an engine takes three steps, and its state after two of them goes into a lake. A second engine, which has
trained on something else from other weights, reads it there and takes the third step too.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, distributed

from infra.store.lake import Lake
from model.architectures.registry import initial_state, model_config
from model.checkpoints.files import open_state
from model.checkpoints.manifest import MANIFEST, Checkpoint, read_checkpoint, step_of
from model.checkpoints.saving import Saver
from model.engine import Engine
from model.engine.deepspeed import DeepSpeedEngine, start_ranks
from model.engine.native import NativeEngine
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.optim.precision import Precision
from model.parallel.ranks import Groups
from model.parallel.stage import Stage
from model.planning.memory import states_of
from model.state.boxes import Box, tiles, whole
from model.state.slices import Kind, ReadState, Slice
from model.supervision.launch import die_with_parent
from tests.model.support.allocations import Allocations
from tests.model.support.course import KINK, batches, reader, scaled, watch_relu
from tests.model.support.differences import scale
from tests.model.support.small import SHAPES
from tests.model.support.state_cases import BATCH, CASES, Case, run_key

ADAMW = AdamWConfig((0.9, 0.95), 1e-8, 0.1, 1.0)
RATE, TIGHT, WIDE = 1e-2, 0.01, 1e9
# Loss scales of fp16: of the first and of later steps, and one that no gradient stands.
SCALE, OTHER, OVERFLOW = 2.0**7, 2.0**10, 2.0**30
SAVED = 2  # updates before the state is taken


def main() -> None:
    """Run the named cases of this world size and write what was found."""
    die_with_parent()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    world, folder, out, *wanted = sys.argv[1:]
    lake, cache = Lake.open(f"{folder}/lake"), Path(folder) / "cache"
    found = {name: Trial(CASES[world][name], lake, run_key(world, name), cache).run() for name in wanted}
    if world == "2":
        found |= {f"start, {precision}": memory_of_a_start(precision) for precision in ("fp32", "bf16")}
    if distributed.get_rank() == 0:
        Path(out).write_text(json.dumps(found), encoding="utf-8")


@dataclass(frozen=True)
class Step:
    """What a step showed on this rank before its update."""

    loss: float
    norm: float
    gradients: list[Slice]


@dataclass(frozen=True)
class Expected:
    """What one process finds: losses of two evaluations, a first step of a batch, and the state after it."""

    start: list[Slice]
    evaluated: list[float]
    batch: Tensor
    step: Step
    updated: list[Slice]


class Trial:
    """One case. What is `found` on a rank is plain: the largest of a number counts, and all that any list names."""

    def __init__(self, case: Case, lake: Lake, key: str, cache: Path) -> None:
        self.case, self.lake, self.key = case, lake, key
        self.groups = groups(case.layout)
        self.cache = cache / str(distributed.get_rank())
        self.found: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """The whole course of the case."""
        first = self.engine(seed=1)
        reference = Stage(model_config(SHAPES[self.case.architecture]), Layout(), seed=1)
        self.found["started"] = not_as_started(first, reference)
        self.compare(first)
        take(first, batches()[1], OTHER)
        held = copies(first.state())
        checkpoint = self.save(first)
        self.drop(first, held)
        evaluate(first)
        last, ended = take(first, batches()[2]), copies(first.state())
        release(first)
        second = self.engine(seed=2)
        self.perturb(second)
        with open_state(self.lake, checkpoint, self.cache) as stored:
            second.restore(stored.read, SAVED)
            self.found["restored"] = differing(copies(second.state()), held)
            self.found["repeated"] = repeat(second, last, ended)
            self.found["noticed"] = []
            for name, mistake in MISTAKES.items() if self.case.controls else ():
                mistake(second, stored.read)
                self.found["noticed"] += [name] if repeat(second, last, ended) else []
        self.read_others(second)
        everyone = second.gather(self.found)
        release(second)
        return {name: merged([found[name] for found in everyone]) for name in self.found}

    def engine(self, seed: int) -> DeepSpeedEngine:
        """One with the initial weights of `seed`."""
        case = self.case
        config = model_config(SHAPES[case.architecture])
        stage = Stage(config, case.layout, self.groups, end_of_document=case.end_of_document)
        engine = DeepSpeedEngine(stage, self.groups, ADAMW, case.layout.accumulation(BATCH), case.precision)
        engine.restore(initial_state(config, seed), 0)
        return engine

    def compare(self, engine: DeepSpeedEngine) -> None:
        """With one process: evaluations, the first step, and the first moment that is left of it by a tight clip."""
        expected = oracle(self.case.architecture, self.case.precision, self.case.end_of_document)
        engine.restore(reader(expected.start), 0)
        self.found["evaluation"] = max(map(relative, evaluate(engine), expected.evaluated))
        step = take(engine, expected.batch, SCALE, TIGHT)
        updated = copies(engine.state())
        require_whole(engine, step.gradients, expected.step.gradients)
        require_whole(engine, updated, expected.updated)
        self.found["first loss"] = step.loss
        self.found["loss"] = relative(step.loss, expected.step.loss)
        self.found["norm"] = relative(step.norm, expected.step.norm)
        self.found["gradient"] = worst(step.gradients, expected.step.gradients)
        self.found["moment"] = worst(first_moments(updated), expected.updated)
        clipped = math.sqrt(sum(engine.gather(squares(first_moments(updated)))))
        self.found["clipped norm"] = relative(clipped, (1 - ADAMW.betas[0]) * TIGHT)

    def drop(self, engine: DeepSpeedEngine, held: list[Slice]) -> None:
        """Discard a gradient, in fp16 also one that overflowed; the state must stay."""
        self.found["overflowed"] = []
        for loss_scale in (OTHER, OVERFLOW):
            accumulate(engine, batches()[5], loss_scale)
            self.found["overflowed"] += [] if math.isfinite(engine.gradient_norm()) else [loss_scale]
            engine.discard()
        self.found["discarded"] = differing(copies(engine.state()), held)

    def perturb(self, engine: DeepSpeedEngine) -> None:
        """Train on something else; by the way, look at what the scale leaves in the gradient and the first moment."""
        accumulate(engine, batches()[6], OTHER)
        other = copies(engine.gradients())
        engine.discard()
        step = take(engine, batches()[6], SCALE, WIDE)
        self.found["scales"] = distance(other, step.gradients)
        tenth = [replace(one, values=one.values * (1 - ADAMW.betas[0])) for one in step.gradients]
        self.found["unclipped"] = distance(first_moments(copies(engine.state())), tenth)

    def save(self, engine: DeepSpeedEngine) -> Checkpoint:
        """The state in the files of a checkpoint."""
        saver = Saver(self.lake, self.key, engine.rank, engine.ranks, "launch", self.cache)
        saver.begin(SAVED, engine.state(), {}, {})
        saver.finish()
        engine.gather(None)
        return read_checkpoint(self.lake, self.key, SAVED)

    def read_others(self, engine: DeepSpeedEngine) -> None:
        """Read what each layout so far has written, and find out what is then held otherwise than it was written."""
        paths = [entry.path for entry in self.lake.list("runs") if entry.path.endswith(f"/{MANIFEST}")]
        runs = sorted({path.split("/")[1] for path in paths if step_of(path) == SAVED})
        self.found["read"] = [run for run in runs if run.startswith(f"{self.case.architecture}-")]
        self.found["misread"] = []
        for run in self.found["read"]:
            with open_state(self.lake, read_checkpoint(self.lake, run, SAVED), self.cache) as stored:
                engine.restore(stored.read, SAVED)
                same = [torch.equal(one.values, stored.read(one.name, one.kind, one.box)) for one in engine.state()]
            self.found["misread"] += [] if all(same) else [run]


def forget_moments(engine: DeepSpeedEngine, read: ReadState) -> None:
    """Put back the weights alone."""
    engine.restore(lambda name, kind, box: read(name, kind, box) * (kind == "weight"), SAVED)


def forget_count(engine: DeepSpeedEngine, read: ReadState) -> None:
    """Let AdamW count from zero."""
    engine.restore(read, 0)


def forget_masters(engine: DeepSpeedEngine, read: ReadState) -> None:
    """Put back weights that are no better than bf16."""
    engine.restore(lambda name, kind, box: read(name, kind, box).bfloat16().float(), SAVED)


def forget_copies(engine: DeepSpeedEngine, read: ReadState) -> None:
    """Leave the weights with which products are computed as they were."""
    held = [getattr(parameter, "ds_tensor", parameter.detach()) for _, parameter in engine.stage.named()]
    before = [one.clone() for one in held]
    engine.restore(read, SAVED)
    for one, values in zip(held, before, strict=True):
        one.copy_(values)


MISTAKES: dict[str, Callable[[DeepSpeedEngine, ReadState], None]] = {
    "moments": forget_moments,
    "count": forget_count,
    "masters": forget_masters,
    "copies": forget_copies,
}


@cache
def groups(layout: Layout) -> Groups:
    """The process groups of a layout; a processor that is slow at fp16 is let compute in it all the same."""
    made = start_ranks(layout)
    from deepspeed.accelerator import get_accelerator

    type(get_accelerator()).is_fp16_supported = lambda accelerator: True
    # DeepSpeed collects garbage again and again; what is imported will not become any.
    gc.freeze()
    return made


@cache
def oracle(architecture: str, precision: Precision, end_of_document: int | None) -> Expected:
    """The first step of the native engine, from large weights that are different everywhere."""
    stage = Stage(model_config(SHAPES[architecture]), Layout(), seed=1, end_of_document=end_of_document)
    engine = NativeEngine(scaled(stage), ADAMW, precision)
    start = copies(engine.state())
    evaluated, nearest = evaluate(engine), watch_relu(engine)

    def is_smooth(batch: Tensor) -> bool:
        engine.evaluate([batch])
        return nearest() > KINK

    batch = next(batch for batch in batches()[7:] if is_smooth(batch))
    step = take(engine, batch, SCALE, TIGHT)
    return Expected(start, evaluated, batch, step, copies(engine.state()))


def not_as_started(engine: DeepSpeedEngine, reference: Stage) -> list[str]:
    """What of a new engine's state is not, bit for bit, that of one process in fp32."""
    weights = {name: parameter.detach() for name, parameter in reference.named()}
    wanted = {
        "weight": lambda one: weights[one.name][one.box.inside(whole(one.shape))],
        "first_moment": lambda one: torch.zeros(one.box.shape),
        "second_moment": lambda one: torch.zeros(one.box.shape),
    }
    return [f"{one.kind} of {one.name}" for one in engine.state() if not torch.equal(one.values, wanted[one.kind](one))]


def memory_of_a_start(precision: Precision) -> dict[str, int]:
    """Bytes of a rank's tensors in a start with ZeRO 3: the most before DeepSpeed makes its optimizer, and the most
    that putting the initial weights in place takes beside what is there by then. Beside them, what these are compared
    with: this rank's share of the weights, and the largest tensor in fp32.
    """
    import deepspeed

    layout = Layout(engine="deepspeed", data=2, zero=3)
    config = model_config(SHAPES["llama"] | {"layers": 6, "vocabulary": 512})
    held, initialize, before = groups(layout), deepspeed.initialize, 0

    def noted(**arguments: Any) -> Any:
        nonlocal before
        before = allocations.peak
        return initialize(**arguments)

    with Allocations([]) as allocations, patch("deepspeed.initialize", noted):
        stage = Stage(config, layout, held)
        engine = DeepSpeedEngine(stage, held, ADAMW, 1, precision)
        there = allocations.peak = allocations.live()
        engine.restore(initial_state(config, 1), 0)
    release(engine)
    return {
        "before": before,
        "putting": allocations.peak - there,
        "share": round(states_of(config, layout, precision).weights),
        "largest": 4 * max(shard.box.elements for shard in stage.shards.values()),
        "whole": 4 * sum(shard.box.elements for shard in stage.shards.values()),
    }


def take(engine: Engine, batch: Tensor, loss_scale: float = SCALE, clip: float = ADAMW.clip) -> Step:
    """One step, its update included."""
    loss = accumulate(engine, batch, loss_scale)
    step = Step(loss, engine.gradient_norm(), copies(engine.gradients()))
    engine.update(RATE, clip)
    return step


def accumulate(engine: Engine, batch: Tensor, loss_scale: float) -> float:
    """The loss of this rank's micro-batches; there is no scale but for fp16."""
    half = next(engine.stage.parameters()).dtype == torch.float16
    engine.loss_scale = loss_scale if half else 1.0
    return engine.accumulate(share(engine, batch))


def evaluate(engine: Engine) -> list[float]:
    """Of one micro-batch and of three, where a step has two."""
    sequences = torch.cat(batches()[3:5])
    return [engine.evaluate(share(engine, sequences[: BATCH // 2 * count])) for count in (1, 3)]


def share(engine: Engine, sequences: Tensor) -> list[Tensor]:
    """This rank's micro-batches of them."""
    return [sequences[list(one)] for one in engine.stage.layout.share(range(len(sequences)), engine.coordinates.data)]


def repeat(engine: Engine, last: Step, ended: list[Slice]) -> list[str]:
    """In what the third step differs on this rank from that of the engine that went on."""
    step = take(engine, batches()[2])
    scalars = [name for name in ("loss", "norm") if getattr(step, name) != getattr(last, name)]
    return scalars + differing(step.gradients, last.gradients) + differing(copies(engine.state()), ended)


def copies(slices: Iterable[Slice]) -> list[Slice]:
    """Slices in order, which no later step changes."""
    ordered = sorted(slices, key=lambda one: (one.kind, one.name, one.box.start))
    return [replace(one, values=one.values.clone()) for one in ordered]


def require_whole(engine: Engine, slices: list[Slice], expected: list[Slice]) -> None:
    """All ranks' slices together must hold every element once."""
    pieces: dict[tuple[str, Kind], list[Box]] = defaultdict(list)
    for key, box in itertools.chain(*engine.gather([((one.name, one.kind), one.box) for one in slices])):
        pieces[key].append(box)
    for one in expected:
        assert tiles(one.box, pieces.pop((one.name, one.kind))), f"{one.kind} of {one.name} is not there once and whole"
    assert not pieces


def first_moments(slices: Iterable[Slice]) -> list[Slice]:
    """Those alone."""
    return [one for one in slices if one.kind == "first_moment"]


def differing(slices: list[Slice], other: list[Slice]) -> list[str]:
    """What is not the same bit for bit."""
    pairs = list(zip(slices, other, strict=True))
    assert all((one.name, one.kind, one.box) == (two.name, two.kind, two.box) for one, two in pairs)
    return [f"{one.kind} of {one.name}" for one, two in pairs if not torch.equal(one.values, two.values)]


def worst(slices: list[Slice], expected: list[Slice]) -> float:
    """max |Δ| / max |expected| of the tensor where it is largest; `expected` are whole tensors."""
    tensors = {one.name: one.values for one in expected if one.kind == slices[0].kind}
    found = []
    for one in slices:
        difference = one.values - tensors[one.name][one.box.inside(whole(one.shape))]
        found.append((difference.abs().max() / scale(one.name, tensors)).item())
    return max(found)


def distance(slices: list[Slice], other: list[Slice]) -> float:
    """The L2 norm of the difference, relative to that of `other`, where this is largest."""
    pairs = list(zip(slices, other, strict=True))
    assert all((one.name, one.box) == (two.name, two.box) for one, two in pairs)
    size = math.sqrt(squares(other))
    return max((one.values - two.values).norm().item() for one, two in pairs) / size


def squares(slices: list[Slice]) -> float:
    """The sum of squares."""
    return sum(one.values.double().square().sum().item() for one in slices)


def merged(values: list[Any]) -> Any:
    """The largest of a number, and everything that is on any list."""
    if isinstance(values[0], list):
        return sorted(set(itertools.chain(*values)))
    return max(values)


def relative(value: float, reference: float) -> float:
    """|Δ| / |reference|."""
    return abs(value - reference) / abs(reference)


def release(engine: DeepSpeedEngine) -> None:
    """Drop what DeepSpeed holds; the ranks stay joined."""
    engine._engine.destroy()
    gc.collect()


if __name__ == "__main__":
    main()
