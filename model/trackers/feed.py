"""Feeds a tracker in its own process through a bounded queue: the training thread never waits for it.

The process is `model.trackers.worker`; it reads one JSON message per line from its standard input. When the queue is
full because the tracker is slow or hangs, points are dropped and counted. At the end the process gets a limited time to
deliver the rest and is then killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from model.observers.observer import Ending, StepObserver
from model.observers.records import StepRecord
from model.supervision.launch import AGENT
from model.trackers.tracker import RunDescription

CAPACITY = 10_000  # maximum number of queued points
# Seconds that the process gets at the end. A launch that is asked to stop has less than 30 s in total.
PATIENCE: dict[Ending, float] = {"finished": 10.0, "stopped": 2.0, "failed": 2.0}
KILLED_SECONDS = 5.0  # maximum wait for a killed process to end


class TrackerFeed(StepObserver):
    """The observer of one tracker; used by rank 0 only.

    `target` is the tracker's module:class. `report(step, account)` is called once, at the end, with the numbers of
    points delivered, dropped (not read in time) and failed (the tracker raised), and the tracker's first error.
    """

    def __init__(
        self,
        name: str,
        target: str,
        run: RunDescription,
        report: Callable[[int, dict[str, Any]], None],
        capacity: int = CAPACITY,
        patience: Mapping[Ending, float] = PATIENCE,
    ) -> None:
        self.name, self._target, self._run, self._report = name, target, run, report
        self._patience = patience
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(capacity)
        self._process: subprocess.Popen[bytes] | None = None
        self._sender: threading.Thread | None = None
        self._step = self._points = 0
        self._error = ""
        self._closed = False

    def begin(self, step: int) -> None:
        """Start the process on the first call. After a rollback, points of the steps after `step` are sent again."""
        self._step = step
        if self._process is None and not self._error:
            self._start()

    def on_step_end(self, record: StepRecord) -> None:
        self._step = record.step
        self.on_scalars(record.step, clock.time(), record.scalars())

    def on_scalars(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        self._points += 1
        with contextlib.suppress(queue.Full):  # counted at the end as dropped
            self._queue.put_nowait({"step": step, "time": time, "scalars": dict(scalars)})

    def close(self, ending: Ending) -> None:
        """Let the process deliver the rest within its time limit, then kill it and report. Its failures never raise."""
        if self._closed:
            return
        self._closed = True
        if self._process is not None and self._sender is not None:
            self._finish(self._process, self._sender, ending)
        if self._process is not None or self._error:
            account = self._account()
            print(f"tracker {self.name}: {json.dumps(account)}", file=sys.stderr)
            self._report(self._step, account)

    def _start(self) -> None:
        folder = Path(self._run.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{self.name}.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "model.trackers.worker", self._target, str(self._status)],
                    stdin=subprocess.PIPE,
                    # Not the trainer's output: a reader of it would wait for processes that a tracker leaves behind.
                    stdout=log,
                    stderr=log,
                    # The process ends with this one, not with its launcher.
                    env={**os.environ, AGENT: str(os.getpid())},
                    # Keep signals to the trainer's process group away: the last points are still to be delivered.
                    start_new_session=True,
                )
        except OSError as error:
            self._error = f"its process could not be started: {error}"
            return
        assert self._process.stdin is not None
        self._sender = threading.Thread(
            target=self._send, args=(self._process.stdin,), name=f"tracker {self.name}", daemon=True
        )
        self._sender.start()

    def _send(self, pipe: BinaryIO) -> None:
        """Write the description and then messages to the pipe, until the last one or until the process ends."""
        message = asdict(self._run)
        try:
            with pipe:
                pipe.write(_line(message))
                while "close" not in message:
                    pipe.flush()
                    message = self._queue.get()
                    pipe.write(_line(message))
        except OSError:
            # The process has ended. Drain the queue, so that the closing message fits into it.
            while "close" not in message:
                message = self._queue.get()

    def _finish(self, process: subprocess.Popen[bytes], sender: threading.Thread, ending: Ending) -> None:
        deadline = clock.monotonic() + self._patience[ending]
        last = {"close": ending}
        try:
            self._queue.put(last, timeout=self._patience[ending])
            process.wait(max(0.0, deadline - clock.monotonic()))
        except (queue.Full, subprocess.TimeoutExpired):
            self._error = f"its process did not end within {self._patience[ending]:g} s and was killed"
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(KILLED_SECONDS)
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(last)
        sender.join(KILLED_SECONDS)

    @property
    def _status(self) -> Path:
        return Path(self._run.folder) / f"{self.name}-{self._run.launch}.json"

    def _account(self) -> dict[str, Any]:
        """The counts of points, from the worker's last status file."""
        try:
            status = json.loads(self._status.read_text(encoding="utf-8"))
        except FileNotFoundError:
            status = {"delivered": 0, "failed": 0, "error": ""}
            code = None if self._process is None else self._process.returncode
            self._error = self._error or f"its process ended with status {code}; see {self.name}.log"
        delivered, failed = status["delivered"], status["failed"]
        return {
            "tracker": self.name,
            "delivered": delivered,
            "dropped": self._points - delivered - failed,
            "failed": failed,
            "error": status["error"] or self._error,
        }


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
