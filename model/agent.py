"""`python -m model.agent GRACE OPTIONS... -m MODULE ...`: start ranks, and give them GRACE seconds to exit on SIGTERM.

Without OPTIONS there is one rank. `--ranks N` starts N ranks on this machine. `--machines`, `--machine`, `--endpoint`
and `--run` make them one machine's part of a run on several machines. The agent forwards SIGTERM and keeps watching the
ranks. When a rank exits with `LEFT_AFTER_SAVING` or `PERMANENT_ERROR`, the agent exits with the same status.

There is no torchrun. Its stores listen on all interfaces, and its c10d rendezvous unpickles what it receives, so anyone
who reaches the port can run commands. It exits with status 1 for any status of its ranks, gives them 30 s after SIGTERM
(an option only since torch 2.12), and does not report whether they exited in order.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.parallel.network import (
    MEETING_ENDPOINT,
    MEETING_FILE,
    MEETING_RUN,
    MEETING_SOCKET,
    interface_of,
    interface_to,
    listen_at,
)
from model.supervision.launch import AGENT, ENDPOINT, MACHINE, MACHINES, RANKS, RUN
from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT_ERROR

_ASKED = (signal.SIGTERM, signal.SIGINT)
_OTHER_MEETINGS = ("MASTER_ADDR", "MASTER_PORT", MEETING_FILE, MEETING_ENDPOINT, MEETING_RUN, MEETING_SOCKET)


def main(arguments: Sequence[str]) -> None:
    """Run the ranks of `arguments[1:]`. Kill them `arguments[0]` seconds after SIGTERM."""
    grace, rest = int(arguments[0]), arguments[1:]
    os.environ[AGENT] = str(os.getpid())
    threading.Thread(target=_pass_on, args=(_open_signals(), grace), daemon=True).start()
    at = rest.index("-m")
    options, program = dict(zip(rest[:at:2], rest[1:at:2], strict=True)), rest[at:]
    if not options:
        sys.exit(_one(program))
    sys.exit(_several_machines(options, program, grace) if ENDPOINT in options else _here(options, program, grace))


def _one(program: Sequence[str]) -> int:
    """Run one rank. Returns its exit status, or 128 plus the number of the signal that killed it."""
    status = _start(program, os.environ).wait()
    return status if status >= 0 else 128 - status


def _here(options: Mapping[str, str], program: Sequence[str], grace: int) -> int:
    """Run all ranks of a run on this machine, with nothing that listens beyond loopback."""
    # The folder has mode 0700: no other user can read or change the addresses that the ranks exchange.
    with tempfile.TemporaryDirectory(prefix="millrace-ranks-") as folder:
        # No variable of the user's opens Gloo or NCCL to the network.
        common = {**_environment(), **_bound_to("lo"), MEETING_FILE: str(Path(folder) / "meeting")}
        count = int(options[RANKS])
        ranks = {rank: _start(program, common | _place(rank, count, count)) for rank in range(count)}
        return _watch(ranks, grace)


def _several_machines(options: Mapping[str, str], program: Sequence[str], grace: int) -> int:
    """Run this machine's ranks of a run. Rank 0 gets a socket that listens at the endpoint's address only."""
    count, machines, machine = (int(options[name]) for name in (RANKS, MACHINES, MACHINE))
    endpoint = options[ENDPOINT]
    try:
        listener = listen_at(endpoint) if machine == 0 else None
        interface = interface_to(endpoint) if listener is None else interface_of(listener.getsockname()[0])
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return PERMANENT_ERROR if isinstance(error, ValueError) else 1
    common = {**_bound_to(interface), **_environment(), MEETING_ENDPOINT: endpoint, MEETING_RUN: options[RUN]}
    ranks = {}
    for rank in range(machine * count, (machine + 1) * count):
        environment = common | _place(rank, count * machines, count)
        ranks[rank] = _start(program, environment, listener if rank == 0 else None)
    if listener is not None:
        listener.close()  # the socket must end with rank 0
    return _watch(ranks, grace)


def _watch(ranks: Mapping[int, subprocess.Popen[bytes]], grace: int) -> int:
    """Wait for the ranks of this machine, by number. Returns 0 if all return 0.

    When the first rank fails, the others get SIGTERM, and SIGKILL after the grace period. Then the result is
    `PERMANENT_ERROR` or `LEFT_AFTER_SAVING` if a rank exited with it, or if SIGTERM ended them before they began to
    train, with nothing to save; otherwise 1.
    """
    running = {process.pid: (rank, process) for rank, process in ranks.items()}
    statuses: set[int] = set()
    while running:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert ended is not None  # waitid blocks without WNOHANG
        rank, process = running.pop(ended.si_pid)
        status = process.wait()
        if status and not any(statuses):
            print(f"rank {rank} ended with status {status}; stopping the other ranks", file=sys.stderr)
            _send(_children(), signal.SIGTERM)
            killer = threading.Timer(grace, lambda: _send(_children(), signal.SIGKILL))
            killer.daemon = True
            killer.start()
        statuses.add(status)
    for status in (PERMANENT_ERROR, LEFT_AFTER_SAVING):
        if status in statuses:
            return status
    if statuses == {-signal.SIGTERM}:  # until it trains, a rank has no handler
        return LEFT_AFTER_SAVING
    return int(any(statuses))


def _start(
    program: Sequence[str], environment: Mapping[str, str], listener: socket.socket | None = None
) -> subprocess.Popen[bytes]:
    """Start a rank; it inherits `listener`."""
    inherited = []
    if listener is not None:
        inherited, environment = [listener.fileno()], {**environment, MEETING_SOCKET: str(listener.fileno())}
    # In its own session: Ctrl-C reaches a rank only once, through the agent.
    return subprocess.Popen([sys.executable, *program], env=environment, pass_fds=inherited, start_new_session=True)


def _place(rank: int, ranks: int, local_ranks: int) -> dict[str, str]:
    """The place of a rank among `ranks`, of which each machine has `local_ranks`: torchrun's variables."""
    machine, local_rank = divmod(rank, local_ranks)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(local_ranks),
        "GROUP_RANK": str(machine),
        "GROUP_WORLD_SIZE": str(ranks // local_ranks),
    }


def _environment() -> dict[str, str]:
    """This process's environment, without another run's meeting."""
    return {
        "OMP_NUM_THREADS": "1",  # torchrun's defaults, unless the user sets them
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        **{name: value for name, value in os.environ.items() if name not in _OTHER_MEETINGS},
    }


def _bound_to(interface: str) -> dict[str, str]:
    """Variables with which Gloo and NCCL listen on `interface`; by default it is the host name's, or any."""
    return {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": f"={interface}"}  # NCCL: "=", or it is a prefix


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

    Runs in its own thread: the main thread waits for names and ranks.
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
        if os.read(signals, 1)[0] in _ASKED:  # the descriptor also delivers signals that other libraries handle
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
