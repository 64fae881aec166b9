"""A rank's program for the tests of launching; it reads the trainer's options, and the run's key says what it does.

`train` takes steps of data-parallel descent, and more until it is told to leave; then it waits for the file `go` as if
it were saving, and writes down its world and its weights. `patient` leaves so without steps, where all but the
first rank take long to end their process. `stubborn` only writes down that it was told, and the first rank of `corrupt`
ends in an error that would come back.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from infra.store.errors import Corrupt
from model.parallel.meeting import meeting
from model.supervision.launch import die_with_parent
from model.supervision.termination import LEFT_AFTER_SAVING, Termination, telling_errors_apart

STEPS = 20


def main() -> None:
    die_with_parent()
    parser = argparse.ArgumentParser()
    for option in ("--lake", "--run-key", "--layout", "--cache", "--retention"):
        parser.add_argument(option, required=True)
    arguments = parser.parse_args()
    folder = Path(arguments.cache)
    rank = os.environ.get("RANK", "0")
    if arguments.run_key == "stubborn":
        signal.signal(signal.SIGTERM, lambda number, frame: (folder / f"told-{rank}").touch())
        (folder / f"ready-{rank}").touch()
        while True:
            signal.pause()
    if arguments.run_key == "corrupt":
        with telling_errors_apart():
            if rank == "0":
                raise Corrupt("the run is not what it was")
            signal.pause()
    if arguments.run_key == "patient":
        with Termination() as termination:
            (folder / f"ready-{rank}").touch()
            while not termination.requested:
                time.sleep(0.01)
            (folder / f"told-{rank}").write_text(termination.signal)
            wait_to_leave(folder)
        while rank != "0":
            signal.pause()
        sys.exit(LEFT_AFTER_SAVING)
    found = train(folder, rank) | {"layout": json.loads(arguments.layout)}
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    sys.exit(LEFT_AFTER_SAVING)


def train(folder: Path, rank: str) -> dict[str, object]:
    """Descent on |x w - y|² where each rank holds other rows; gradients are averaged, and flags are gathered."""
    import torch
    import torch.distributed as distributed

    distributed.init_process_group("gloo", **meeting())
    ranks = distributed.get_world_size()
    generator = torch.Generator().manual_seed(int(rank))
    rows = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    targets = rows @ torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    losses: list[float] = []
    with Termination() as termination:
        while True:
            loss = (rows @ weights - targets).square().mean()
            (gradient,) = torch.autograd.grad(loss, weights)
            flag = torch.tensor([loss.detach(), float(termination.requested)])
            shared = torch.cat((gradient, flag))
            distributed.all_reduce(shared)
            if shared[4]:
                break
            losses.append(float(shared[3]) / ranks)
            if len(losses) <= STEPS:
                weights = (weights - 0.2 * shared[:3] / ranks).detach().requires_grad_()
            if len(losses) == STEPS:
                (folder / f"ready-{rank}").write_text(str(os.getpid()))
                print("ready", flush=True)
        (folder / f"leaving-{rank}").touch()
        wait_to_leave(folder)
        distributed.barrier()
    distributed.destroy_process_group()
    return {
        "world": ranks,
        "machine": int(os.environ["GROUP_RANK"]),
        "signal": termination.signal,
        "weights": weights.tolist(),
        "losses": losses,
    }


def wait_to_leave(folder: Path) -> None:
    while not (folder / "go").exists():
        time.sleep(0.01)


if __name__ == "__main__":
    main()
