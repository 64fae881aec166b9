"""The guard: a small process between a launcher and its command that ends every process of the command.

Runs as a script, `guard.py CONTROL REPORT GRACE COMMAND...`, with the standard library only. It is a "child subreaper"
(prctl(2)): a descendant whose parent dies becomes a child of the guard, even if it moved to its own session, as
ranks do, or forked twice. The guard's descendants are therefore all processes that the command started, and
the guard can end them all. It runs in its own session, so a signal to the launcher's process group does not reach it.
It detects the launcher's death by the closed control pipe.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.1
KILL_SECONDS = 5.0  # a process that survives SIGKILL for this long is stuck in the kernel


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process the signal `number` when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def guard(control: int, report: int, grace: float, command: list[str]) -> None:
    """Runs `command` until it ends or the other end of the pipe `control` is closed; then ends all descendants.

    Sends SIGTERM (first to the command, then to its remaining descendants) and, `grace` seconds later, SIGKILL. Writes
    one JSON object to `report`: `returncode` (negative: a signal) and `left` (pids that did not end).
    """
    launcher = os.getppid()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: asked.append(received))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    die_with_parent(signal.SIGTERM)
    root = _spawn(command, closing=(control, report))

    endings: dict[int, int] = {}
    while root not in endings and not asked and os.getppid() == launcher:
        if select.select([control], [], [], POLL_SECONDS)[0]:
            break
        endings |= _reap()
    endings |= _stop(root, grace, endings)
    left = descendants(os.getpid())
    status = {"returncode": endings.get(root, -signal.SIGKILL), "left": left}
    with contextlib.suppress(BrokenPipeError):  # the launcher is dead, so nobody reads the report
        os.write(report, json.dumps(status).encode())


def descendants(ancestor: int) -> list[int]:
    """Pids of all living processes below `ancestor`, nearest first. Zombies are not counted."""
    children: dict[int, list[int]] = {}
    zombies: set[int] = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command name is in parentheses and may contain any byte; state and parent follow it.
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(parent), []).append(int(name))
        if state in (b"Z", b"X"):
            zombies.add(int(name))
    below = list(children.get(ancestor, []))
    for pid in below:
        below.extend(children.get(pid, []))
    return [pid for pid in below if pid not in zombies]


def _spawn(command: list[str], closing: tuple[int, int]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        for descriptor in closing:
            os.close(descriptor)
        die_with_parent()
        if os.getppid() == parent:
            os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error}\n".encode())
    finally:
        os._exit(127)


def _stop(root: int, grace: float, endings: dict[int, int]) -> dict[int, int]:
    """Ends all descendants; returns the exit codes of those that it reaped."""
    endings = dict(endings)
    told: set[int] = set()
    kill_at = time.monotonic() + grace
    while True:
        endings |= _reap()
        remaining = descendants(os.getpid())
        now = time.monotonic()
        if not remaining or now > kill_at + KILL_SECONDS:
            return endings
        if now >= kill_at:
            for pid in remaining:
                _send(pid, signal.SIGKILL)
        else:
            # While the command lives, it handles its own children: an agent forwards SIGTERM to its ranks.
            for pid in {root} - told if root in remaining else set(remaining) - told:
                _send(pid, signal.SIGTERM)
                told.add(pid)
        time.sleep(POLL_SECONDS)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended in the meantime
        os.kill(pid, number)


def _reap() -> dict[int, int]:
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    guard(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
