"""The guard: a small process between a launcher and its command, which never leaves a process behind.

Runs as a script, `guard.py CONTROL REPORT GRACE COMMAND...`, with the standard library only. It is a "child subreaper"
(prctl(2)): a descendant whose parent dies becomes a child of the guard, also when it moved to a session of its own, as
torchrun's ranks do, or forked twice. So the guard's descendants are everything the command ever started, and they can
be ended for certain. It stands in its own session: what kills the launcher's process group does not reach it, and it
notices the launcher's death by the closed control pipe.
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
KILL_SECONDS = 5.0  # a process that outlives SIGKILL for so long is stuck in the kernel


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the one that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def guard(control: int, report: int, grace: float, command: list[str]) -> None:
    """Runs `command` until it ends, or until the pipe `control` is closed at its other end; then ends what is left.

    Everything gets SIGTERM (the command first, what it left behind after it) and, `grace` seconds later, SIGKILL.
    One JSON object goes to `report`: `returncode` (negative: the signal), `left` (pids that could not be ended).
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
    with contextlib.suppress(BrokenPipeError):  # where the launcher is gone, there is nobody to tell
        os.write(report, json.dumps(status).encode())


def descendants(ancestor: int) -> list[int]:
    """Pids of all living processes below `ancestor`, nearest first. Zombies are not counted."""
    children: dict[int, list[int]] = {}
    zombies: set[int] = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command's name stands in parentheses and may hold anything; state and parent follow it.
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
        os.write(2, f"{command[0]} cannot be run: {error}\n".encode())
    finally:
        os._exit(127)


def _stop(root: int, grace: float, endings: dict[int, int]) -> dict[int, int]:
    """Ends all descendants; returns the exit codes of those that were reaped here."""
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
            # While the command lives, its own children are its business: torchrun passes SIGTERM on to its ranks.
            for pid in {root} - told if root in remaining else set(remaining) - told:
                _send(pid, signal.SIGTERM)
                told.add(pid)
        time.sleep(POLL_SECONDS)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may end by itself in between
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
