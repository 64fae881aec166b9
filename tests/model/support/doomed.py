"""`model.train` with moments to be killed at, or to be told to leave at, for the tests of resuming.

Only the rank that `DOOMED_RANK` names can reach a fault, so that which one dies is no race. `micro_batch` is a point of
its own: the forward pass of a micro-batch is done, its backward pass is not. `TOLD_AT` is a point at which rank 0 has
SIGTERM sent to whoever started it, as a machine that is to go down does, and waits until it has come. `HANGS_AT` is one
at which the last of two ranks hangs.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from torch import Tensor

from infra.store import faults
from model import train
from model.parallel.stage import Stage
from model.supervision.launch import AGENT
from model.supervision.termination import Termination


def main() -> None:
    """Train."""
    rank = os.environ.get("RANK", "0")
    if rank != os.environ.get("DOOMED_RANK", rank):
        del os.environ["MILLRACE_FAULT"]
    original = Stage.loss

    def loss(self: Stage, logits: Tensor, tokens: Tensor) -> Tensor:
        result = original(self, logits, tokens)
        faults.reach("micro_batch")
        return result

    Stage.loss = loss  # type: ignore[method-assign]
    if rank == "0" and "TOLD_AT" in os.environ:
        _tell_at(os.environ["TOLD_AT"])
    if rank == "1" and "HANGS_AT" in os.environ:
        _hang_at(os.environ["HANGS_AT"])
    train.main()


def _tell_at(moment: str) -> None:
    told: list[int] = []
    handle = Termination._request

    def request(self: Termination, number: int, frame: FrameType | None) -> None:
        handle(self, number, frame)
        told.append(number)

    def reach(point: str) -> None:
        if point == moment and not told:
            os.kill(int(os.environ.get(AGENT, os.getpid())), signal.SIGTERM)
            while not told:
                time.sleep(0.001)

    Termination._request = request  # type: ignore[method-assign, assignment]
    faults.reach = reach


def _hang_at(moment: str) -> None:
    def reach(point: str) -> None:
        if point == moment:
            threading.Event().wait()

    faults.reach = reach


if __name__ == "__main__":
    main()
