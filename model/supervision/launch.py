"""The command that starts a run, or one machine's part of it. A rank dies with its launcher."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model.checkpoints.retention import NEWEST_TWO, Retention
from model.configuration import require
from model.layout import Layout

PR_SET_PDEATHSIG = 1  # linux/prctl.h
AGENT = "MILLRACE_AGENT"  # the process id of the agent that starts ranks
RANKS_HERE = "--ranks"  # option of `model.agent`: the number of ranks, all on this machine
GRACE_SECONDS = 20  # as in `infra.launcher.launch`; Prefect kills a cancelled flow after 30 s


@dataclass(frozen=True)
class Machines:
    """This machine's rank among `count` machines that train one run together, with equal numbers of ranks each.

    `endpoint` is HOST:PORT, where machine 0 serves the rendezvous.
    """

    count: int
    rank: int
    endpoint: str

    def __post_init__(self) -> None:
        require(self.count >= 1, f"machines: count is {self.count}; it must be at least 1")
        require(
            0 <= self.rank < self.count,
            f"machines: rank is {self.rank} and count is {self.count}; rank must be 0 to {self.count - 1}",
        )
        host, _, port = self.endpoint.rpartition(":")
        require(
            bool(host) and port.isdecimal() and 0 < int(port) < 65536,
            f"machines: endpoint is {self.endpoint!r}; it must be HOST:PORT of machine 0, such as 10.0.0.1:29400",
        )


def launch_command(
    lake_uri: str,
    run: str,
    layout: Layout,
    cache: Path,
    machines: Machines | None = None,
    grace: int = GRACE_SECONDS,
    retention: Retention = NEWEST_TWO,
    trackers: Sequence[str] = (),
    launch: str = "",
) -> list[str]:
    """The command that starts or resumes a run: all of it, or the part of one of several `machines`.

    `launch` is an id that no other launch has; rank 0 makes one where it is empty.

    Start it in the project's directory. On SIGTERM every rank saves and exits; ranks that still run after `grace`
    seconds are killed. The command exits with `LEFT_AFTER_SAVING` (`model.supervision.termination`) when a rank does,
    since all ranks have saved by then, and with `PERMANENT_ERROR` when a rank does. Raises ValueError when the ranks
    cannot be shared evenly among the machines.
    """
    # --run-key instead of --run, which torchrun would parse as an abbreviation of its own --run-path.
    what = ["model.train", "--lake", lake_uri, "--run-key", run]
    what += ["--layout", json.dumps(layout.to_plain()), "--cache", str(cache)]
    what += ["--retention", json.dumps(asdict(retention))]
    what += ["--trackers", ",".join(trackers)] if trackers else []
    what += ["--launch", launch] if launch else []
    return [sys.executable, "-m", "model.agent", str(grace), *_options(run, layout, machines), "-m", *what]


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends: a rank must not outlive its launcher."""
    # If the agent was killed while this process was still importing, its parent is already another process.
    parent = int(os.environ.get(AGENT, os.getppid()))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _options(run: str, layout: Layout, machines: Machines | None) -> list[str]:
    """The agent's options: none for the native engine's one process, torchrun's options for several machines."""
    if machines is None or machines.count == 1:
        return [] if layout.engine == "native" else [RANKS_HERE, str(layout.ranks)]
    each, rest = divmod(layout.ranks, machines.count)
    require(
        rest == 0 and each >= 1,
        f"layout: {layout.ranks} ranks cannot be shared evenly among {machines.count} machines; change either",
    )
    # Not the c10d backend: there, the rendezvous ends with machine 0's ranks, and agents that still wait for their own
    # ranks fail. It also numbers the machines in any order (torch 2.13, `run.py` on --node-rank).
    return [
        *("--nnodes", str(machines.count), "--node-rank", str(machines.rank), "--nproc-per-node", str(each)),
        *("--rdzv-backend", "static", "--rdzv-endpoint", machines.endpoint, "--rdzv-id", run),
    ]
