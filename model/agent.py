"""`python -m model.agent GRACE OPTIONS... -m MODULE ...`: ranks that are told to leave and given the time for it.

OPTIONS are torchrun's. It itself ends with status 1 whatever its ranks ended with, gives them 30 s after SIGTERM (an
option only since torch 2.12), and cannot say afterwards whether they left in order. This agent passes SIGTERM on and
goes on watching: when a rank leaves with `LEFT_AFTER_SAVING` it ends with the same, and so it does with
`PERMANENT_ERROR`. Without OPTIONS there is one rank, and no torchrun: its import takes as long as the rank's own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from model.supervision.launch import AGENT
from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT_ERROR

_ASKED = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> None:
    """Run the ranks of `arguments[1:]`; they have `arguments[0]` seconds after SIGTERM, then they are killed."""
    grace, rest = int(arguments[0]), arguments[1:]
    os.environ[AGENT] = str(os.getpid())
    threading.Thread(target=_pass_on, args=(_open_signals(), grace), daemon=True).start()
    sys.exit(_one(rest) if rest[0] == "-m" else _several(rest, grace))


def _one(arguments: Sequence[str]) -> int:
    """The exit status of one rank, 128 more than the signal that killed it."""
    # In a session of its own, as torchrun's are: of Ctrl-C it hears from the agent, and once.
    status = subprocess.Popen([sys.executable, *arguments], start_new_session=True).wait()
    return status if status >= 0 else 128 - status


def _several(arguments: Sequence[str], grace: int) -> int:
    """The exit status of torchrun's ranks. Raises ChildFailedError when that says nothing."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    # After the first rank has left, torchrun waits so long for those beside it.
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(grace)
    try:
        # SIGTERM and SIGINT are not among the signals that torchrun is to handle by itself.
        run(parse_args(["--signals-to-handle", "SIGHUP,SIGQUIT", *arguments]))
    except ChildFailedError as error:
        statuses = {failure.exitcode for failure in error.failures.values()}
        if PERMANENT_ERROR in statuses:  # the others have lost a peer by it
            return PERMANENT_ERROR
        if LEFT_AFTER_SAVING in statuses:  # all have saved, but torchrun does not wait until all processes have ended
            return LEFT_AFTER_SAVING
        raise
    return 0


def _open_signals() -> int:
    """A descriptor from which each SIGTERM and each SIGINT (Ctrl-C in a terminal) is read as a byte."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in _ASKED:
        signal.signal(number, lambda received, frame: None)
    return reading


def _pass_on(signals: int, grace: int) -> None:
    """Tell the ranks to leave once a signal comes; kill them after the grace, or at the second signal.

    In a thread of its own, as the main one may wait at the rendezvous, where Python handles no signals.
    """
    _wait(signals, None)
    if not _children():  # nothing runs yet, so there is nothing to save
        os._exit(LEFT_AFTER_SAVING)
    _send(_children(), signal.SIGTERM)
    again = _wait(signals, grace)
    if ranks := _children():
        why = "are to leave at once" if again else f"have not left within {grace} s"
        os.write(2, f"the ranks of this machine {why}: they are killed\n".encode())
        _send(ranks, signal.SIGKILL)


def _wait(signals: int, seconds: float | None) -> bool:
    """Whether a signal came within `seconds`; for ever when that is None."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while select.select([signals], [], [], None if deadline is None else max(0.0, deadline - time.monotonic()))[0]:
        if os.read(signals, 1)[0] in _ASKED:  # torchrun's own signals are written there too
            return True
    return False


def _children() -> list[int]:
    """Pids of this process's own children: its ranks."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ended just now
            found += [int(pid) for pid in (thread / "children").read_text(encoding="ascii").split()]
    return found


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has left by itself
            os.kill(pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
