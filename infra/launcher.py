"""Runs an external process tree (an agent and its ranks) and ensures that all of its processes end."""

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra import guard

MARKER = "MILLRACE_LAUNCH"
LINE_BYTES = 65_536
POLL_SECONDS = 0.5


class LaunchError(RuntimeError):
    """An external command did not run to completion."""


class CommandNotFound(LaunchError):
    """The command's program does not exist."""


class Stalled(LaunchError):
    """The command made no progress and was ended."""


class GuardLost(LaunchError):
    """The guard between launcher and command was killed, and the command with it."""


class ProcessesLeft(LaunchError):
    """Processes of the command did not end, even after SIGKILL."""


@dataclass(frozen=True, slots=True)
class Watch:
    """How to detect a stalled command: a live process does not imply progress.

    `progress` returns a value that changes with the command's progress (a step, a file's mtime), and None before the
    first value exists. The command is ended when the value stays None for `startup_seconds`, or stays unchanged for
    `steady_seconds`. The defaults are those of NVIDIA's resiliency extension for first and later heartbeats.
    """

    progress: Callable[[], object]
    startup_seconds: float = 1800.0
    steady_seconds: float = 300.0


class StallJudge:
    """Polls a watch, and raises Stalled when the command has made no progress for too long."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._changed = watch, time.monotonic()
        self._value: object = None

    def look(self) -> None:
        """Poll the watch once. Raises Stalled."""
        newest, now = self._watch.progress(), time.monotonic()
        if newest != self._value:
            self._value, self._changed = newest, now
        patience = self._watch.startup_seconds if self._value is None else self._watch.steady_seconds
        if now - self._changed > patience:
            what = "no first sign of progress" if self._value is None else f"no progress after {self._value!r}"
            raise Stalled(f"{what} for {patience:.0f} s; the command was ended; cure: see its last output lines")


def launch(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    on_line: Callable[[str], None],
    watch: Watch | None = None,
    grace: float = 20.0,
) -> int:
    """Runs `command` in `folder` with exactly the variables of `environment` and returns its exit code.

    The exit code is negative when a signal ended the command. Passes every non-blank line of stdout and stderr to
    `on_line`, in the calling thread.

    When this call ends for any reason (the command's end, an exception, KeyboardInterrupt, Prefect's cancellation, the
    death of this process), all processes of the command are ended: SIGTERM, then SIGKILL after `grace` seconds. `grace`
    must be less than the 30 s after which Prefect kills a cancelled flow. A second KeyboardInterrupt kills at once.

    Raises CommandNotFound, Stalled, GuardLost, ProcessesLeft.
    """
    if not 0 < grace < 30:
        raise ValueError(f"grace must be above 0 s and below 30 s, after which Prefect kills the flow, not {grace}")
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        raise CommandNotFound(f"{command[0]} is not on the command's PATH; cure: install it, or give its full path")
    marker = uuid.uuid4().hex
    started = _Started(command, {**environment, MARKER: marker}, folder, grace)
    try:
        try:
            started.follow(on_line, watch)
        except BaseException:
            started.stop(on_line)
            raise
        return started.returncode()
    finally:
        left = sweep(marker)
        started.close()
        if left:
            raise ProcessesLeft(f"processes {left} of {command[0]} do not end; they may still use memory or devices")


def sweep(marker: str) -> list[int]:
    """Kills every process with `MILLRACE_LAUNCH=<marker>` in its environment; returns the pids that survive."""
    deadline = time.monotonic() + guard.KILL_SECONDS
    while (left := carriers(marker)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    return left


def carriers(marker: str) -> list[int]:
    """Pids of this user's live processes that were started with `MILLRACE_LAUNCH=<marker>`."""
    wanted = f"{MARKER}={marker}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            variables = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")  # empty for a zombie
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if wanted in variables:
            found.append(int(name))
    return found


class _Started:
    """A guard with its command, and the three pipes that connect them to this process."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, grace: float) -> None:
        control_read, self._control = os.pipe()
        self._report, report_write = os.pipe()
        self._output, output_write = os.pipe()
        self._rest = b""
        self._deliver = True
        self._grace = grace
        self._guard: subprocess.Popen[bytes] | None = None
        try:
            self._guard = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", guard.__file__),
                    *(str(control_read), str(report_write), str(grace), *command),
                ],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                pass_fds=[control_read, report_write],
                start_new_session=True,
            )
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in (control_read, report_write, output_write):
                os.close(descriptor)

    def follow(self, on_line: Callable[[str], None], watch: Watch | None) -> None:
        """Forwards lines until the guard has reported. Raises Stalled."""
        judge = None if watch is None else StallJudge(watch)
        asked = time.monotonic()
        while not self._pump(on_line, POLL_SECONDS):
            if judge is not None and time.monotonic() - asked >= POLL_SECONDS:
                asked = time.monotonic()
                judge.look()

    def stop(self, on_line: Callable[[str], None]) -> None:
        """Has the guard end all processes; returns when it has, or after a timeout, when it counts as lost."""
        self._close_control()
        deadline = time.monotonic() + self._grace + 2 * guard.KILL_SECONDS
        while not self._pump(on_line, POLL_SECONDS) and time.monotonic() < deadline:
            continue

    def returncode(self) -> int:
        """The command's exit code, from the guard's report. Raises GuardLost."""
        report = b""
        while chunk := os.read(self._report, LINE_BYTES):
            report += chunk
        if not report:
            raise GuardLost("the guard of the command was killed, and the command with it; cure: restart it")
        return int(json.loads(report)["returncode"])

    def close(self) -> None:
        self._close_control()
        os.close(self._report)
        os.close(self._output)
        if self._guard is not None:
            self._guard.wait()

    def _close_control(self) -> None:
        if self._control >= 0:
            os.close(self._control)
            self._control = -1

    def _pump(self, on_line: Callable[[str], None], seconds: float) -> bool:
        """Handles data that arrives within `seconds`; returns whether the guard has reported or died."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._report, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(seconds)}
        over = self._report in ready
        while self._output in ready:
            chunk = os.read(self._output, LINE_BYTES)
            self._pass_on(chunk, on_line)
            with selectors.DefaultSelector() as selector:
                selector.register(self._output, selectors.EVENT_READ)
                if not chunk or not over or not selector.select(0):
                    break
        if over:
            self._pass_on(b"\n" if self._rest else b"", on_line)
        return over

    def _pass_on(self, chunk: bytes, on_line: Callable[[str], None]) -> None:
        *lines, self._rest = re.split(rb"[\r\n]+", self._rest + chunk)
        if len(self._rest) > LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            if self._deliver and line:
                self._deliver = False  # stays False if the callback raises, so it is not called again while stopping
                on_line(line.decode("utf-8", errors="replace"))
                self._deliver = True
