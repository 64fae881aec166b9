"""`python -m model.agent GRACE OPTIONS... -m MODULE ...`: ranks that are told to leave and given the time for it.

Without OPTIONS there is one rank. `--ranks N` starts N ranks on this machine. Other OPTIONS are torchrun's, for one of
several machines. The agent passes SIGTERM on and goes on watching. When a rank leaves with `LEFT_AFTER_SAVING` it ends
with the same, and so it does with `PERMANENT_ERROR`.

Torchrun is used only where machines have to find each other. Its rendezvous for one machine (`--standalone`) listens on
all interfaces and unpickles what it is sent, so whoever reaches the port can run commands. Torchrun itself ends with
status 1 whatever its ranks ended with, gives them 30 s after SIGTERM (an option only since torch 2.12), and cannot say
afterwards whether they left in order. Its import also takes as long as a rank's own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.parallel.meeting import MEETING_FILE
from model.supervision.launch import AGENT, RANKS_HERE
from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT_ERROR

_ASKED = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> None:
    """Run the ranks of `arguments[1:]`; they have `arguments[0]` seconds after SIGTERM, then they are killed."""
    grace, rest = int(arguments[0]), arguments[1:]
    os.environ[AGENT] = str(os.getpid())
    threading.Thread(target=_pass_on, args=(_open_signals(), grace), daemon=True).start()
    if rest[0] == "-m":
        sys.exit(_one(rest))
    sys.exit(_here(int(rest[1]), rest[2:], grace) if rest[0] == RANKS_HERE else _several_machines(rest, grace))


def _one(arguments: Sequence[str]) -> int:
    """The exit status of one rank, 128 more than the signal that killed it."""
    status = _start(arguments, os.environ).wait()
    return status if status >= 0 else 128 - status


def _here(count: int, arguments: Sequence[str], grace: int) -> int:
    """The exit status of `count` ranks on this machine: 0 when all end so, 1 when their statuses say nothing.

    The first rank that ends otherwise ends the others: SIGTERM, and SIGKILL after the grace.
    """
    # The folder has mode 0700: no other user can read or change the addresses that the ranks exchange.
    with tempfile.TemporaryDirectory(prefix="millrace-ranks-") as folder:
        ranks = {}
        for rank in range(count):
            process = _start(arguments, _rank_environment(rank, count, Path(folder) / "meeting"))
            ranks[process.pid] = (rank, process)
        statuses: set[int] = set()
        while ranks:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            assert ended is not None  # there are children, and it waits
            rank, process = ranks.pop(ended.si_pid)
            status = process.wait()
            if status and not any(statuses):
                print(f"rank {rank} ended with status {status}: the others are to leave", file=sys.stderr)
                _send(_children(), signal.SIGTERM)
                killer = threading.Timer(grace, lambda: _send(_children(), signal.SIGKILL))
                killer.daemon = True
                killer.start()
            statuses.add(status)
    return next((status for status in (PERMANENT_ERROR, LEFT_AFTER_SAVING) if status in statuses), int(any(statuses)))


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # In a session of its own, as torchrun's are: of Ctrl-C it hears from the agent, and once.
    return subprocess.Popen([sys.executable, *arguments], env=environment, start_new_session=True)


def _rank_environment(rank: int, ranks: int, meeting_file: Path) -> dict[str, str]:
    """The variables of one rank of this machine: torchrun's, without the address of a store that nobody offers."""
    return {
        "OMP_NUM_THREADS": "1",  # as torchrun sets both, where the user did not
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        **{name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "MASTER_PORT")},
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        MEETING_FILE: str(meeting_file),
        # Gloo and NCCL listen for the other ranks; without these, on the interface of the machine's name.
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }


def _several_machines(arguments: Sequence[str], grace: int) -> int:
    """The exit status of this machine's ranks under torchrun. Raises ChildFailedError when that says nothing."""
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
