"""Started by `model.agent`: what `test_parity.py` asserts about cases of one world size, as JSON."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed

from model.architectures.registry import model_config
from model.engine.deepspeed import DeepSpeedEngine, start_ranks
from model.engine.loading import load_deepspeed
from model.parallel.stage import Stage
from model.state.slices import KINDS
from model.supervision.launch import die_with_parent
from tests.model.support.course import ADAMW, BATCH, course, reader
from tests.model.support.differences import Differences
from tests.model.support.mistakes import MISTAKES
from tests.model.support.parity_cases import CASES, Case
from tests.model.support.small import SHAPES


def main() -> None:
    """Run the named cases of a world size and write what was found."""
    die_with_parent()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    os.environ["DS_ACCELERATOR"] = "cpu"
    load_deepspeed()

    # DeepSpeed collects garbage at every turn; what it has imported by now is none.
    gc.freeze()
    world, out = sys.argv[1], Path(sys.argv[2])
    found = {name: run(CASES[world][name]) for name in sys.argv[3:]}
    if distributed.get_rank() == 0:
        out.write_text(json.dumps(found), encoding="utf-8")


def run(case: Case) -> dict[str, list[float]]:
    """The layout's losses, and how far it is from one process in each step; both go their own way from the start.

    Weights are compared after each update, and their difference counted in learning rates.
    """
    reference = course(case.architecture, case.clip)
    groups = start_ranks(case.layout)
    stage = Stage(model_config(SHAPES[case.architecture]), case.layout, groups)
    engine = DeepSpeedEngine(stage, groups, ADAMW, case.layout.accumulation(BATCH))
    if case.mistake:
        MISTAKES[case.mistake](engine)
    differences = Differences()
    engine.restore(reader(reference.start), 0)
    for step in reference.steps:
        mine = [step.batch[list(one)] for one in case.layout.share(range(BATCH), engine.coordinates.data)]
        loss, norm = engine.accumulate(mine), engine.gradient_norm()
        differences.number("losses", loss)
        differences.number("loss", abs(loss - step.loss) / step.loss)
        differences.number("norm", abs(norm - step.norm) / step.norm)
        differences.tensors("gradient", engine.gradients(), step.gradients)
        engine.update(step.rate, case.clip)
        state = list(engine.state())
        for kind in KINDS:
            here, there = ([one for one in slices if one.kind == kind] for slices in (state, step.state))
            differences.tensors(kind, here, there, step.rate if kind == "weight" else None)
    found = differences.of_all_ranks(engine)
    engine._engine.destroy()
    del engine
    gc.collect()
    return found


if __name__ == "__main__":
    main()
