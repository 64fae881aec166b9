"""`python -m model.agent GRACE OPTIONS... -m MODULE ...`: start ranks, and give them GRACE seconds to exit on SIGTERM.

Without OPTIONS there is one rank. `--ranks N` starts N ranks on this machine. Other OPTIONS are torchrun's, for one of
several machines. The agent forwards SIGTERM and keeps watching the ranks. When a rank exits with `LEFT_AFTER_SAVING` or
`PERMANENT_ERROR`, the agent exits with the same status.

Torchrun is used only for several machines, which need its rendezvous. Its rendezvous for one machine (`--standalone`)
listens on all interfaces and unpickles what it receives, so anyone who reaches the port can run commands. Torchrun
exits with status 1 for any status of its ranks, gives them 30 s after SIGTERM (an option only since torch 2.12), and
does not report whether they exited in order. Its import also takes as long as a rank's own.
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
    """Run the ranks of `arguments[1:]`. Kill them `arguments[0]` seconds after SIGTERM."""
    grace, rest = int(arguments[0]), arguments[1:]
    os.environ[AGENT] = str(os.getpid())
    threading.Thread(target=_pass_on, args=(_open_signals(), grace), daemon=True).start()
    if rest[0] == "-m":
        sys.exit(_one(rest))
    sys.exit(_here(int(rest[1]), rest[2:], grace) if rest[0] == RANKS_HERE else _several_machines(rest, grace))


def _one(arguments: Sequence[str]) -> int:
    """Run one rank. Returns its exit status, or 128 plus the number of the signal that killed it."""
    status = _start(arguments, os.environ).wait()
    return status if status >= 0 else 128 - status


def _here(count: int, arguments: Sequence[str], grace: int) -> int:
    """Run `count` ranks on this machine. Returns 0 if all return 0.

    When the first rank fails, the others get SIGTERM, and SIGKILL after the grace period. Then the result is
    `PERMANENT_ERROR` or `LEFT_AFTER_SAVING` if a rank exited with it, otherwise 1.
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
            assert ended is not None  # waitid blocks without WNOHANG
            rank, process = ranks.pop(ended.si_pid)
            status = process.wait()
            if status and not any(statuses):
                print(f"rank {rank} ended with status {status}; stopping the other ranks", file=sys.stderr)
                _send(_children(), signal.SIGTERM)
                killer = threading.Timer(grace, lambda: _send(_children(), signal.SIGKILL))
                killer.daemon = True
                killer.start()
            statuses.add(status)
    return next((status for status in (PERMANENT_ERROR, LEFT_AFTER_SAVING) if status in statuses), int(any(statuses)))


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # In its own session, as under torchrun: Ctrl-C reaches a rank only once, through the agent.
    return subprocess.Popen([sys.executable, *arguments], env=environment, start_new_session=True)


def _rank_environment(rank: int, ranks: int, meeting_file: Path) -> dict[str, str]:
    """The environment of one rank on this machine: torchrun's variables without the address of its store."""
    return {
        "OMP_NUM_THREADS": "1",  # torchrun's defaults, unless the user sets them
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        **{name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "MASTER_PORT")},
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        MEETING_FILE: str(meeting_file),
        # Gloo and NCCL listen for the other ranks; by default on the interface of the host name.
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }


def _several_machines(arguments: Sequence[str], grace: int) -> int:
    """Run this machine's ranks under torchrun. Returns an exit status or raises ChildFailedError."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    # The time for which torchrun waits for the other ranks after the first has exited.
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(grace)
    try:
        # Torchrun must not handle SIGTERM and SIGINT: the agent does.
        run(parse_args(["--signals-to-handle", "SIGHUP,SIGQUIT", *arguments]))
    except ChildFailedError as error:
        statuses = {failure.exitcode for failure in error.failures.values()}
        if PERMANENT_ERROR in statuses:  # the other ranks failed because they lost a peer
            return PERMANENT_ERROR
        if LEFT_AFTER_SAVING in statuses:  # all ranks have saved, but torchrun does not wait for all to exit
            return LEFT_AFTER_SAVING
        raise
    return 0


def _open_signals() -> int:
    """A file descriptor that delivers each SIGTERM and SIGINT (Ctrl-C in a terminal) as a byte."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in _ASKED:
        signal.signal(number, lambda received, frame: None)
    return reading


def _pass_on(signals: int, grace: int) -> None:
    """Forward the first signal as SIGTERM to the ranks; kill them after the grace period or at a second signal.

    Runs in its own thread: the main thread may wait at the rendezvous, where Python handles no signals.
    """
    _wait(signals, None)
    if not _children():  # no rank runs yet, so there is nothing to save
        os._exit(LEFT_AFTER_SAVING)
    _send(_children(), signal.SIGTERM)
    again = _wait(signals, grace)
    if ranks := _children():
        why = "got a second signal" if again else f"did not exit within {grace} s"
        os.write(2, f"the ranks of this machine {why} and are killed\n".encode())
        _send(ranks, signal.SIGKILL)


def _wait(signals: int, seconds: float | None) -> bool:
    """Whether a signal arrives within `seconds`; None waits without limit."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while select.select([signals], [], [], None if deadline is None else max(0.0, deadline - time.monotonic()))[0]:
        if os.read(signals, 1)[0] in _ASKED:  # the descriptor also delivers torchrun's own signals
            return True
    return False


def _children() -> list[int]:
    """Pids of this process's children, which are its ranks."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has just ended
            found += [int(pid) for pid in (thread / "children").read_text(encoding="ascii").split()]
    return found


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has already exited
            os.kill(pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
