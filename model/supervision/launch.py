"""The command that starts a run on one machine, or one machine's part of it; a rank dies with its launcher."""

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
RANKS_HERE = "--ranks"  # of `model.agent`: this many ranks, all on this machine
GRACE_SECONDS = 20  # of `infra.launcher.launch`; Prefect kills a cancelled flow after 30 s


@dataclass(frozen=True)
class Machines:
    """This machine's place among `count` machines that train one run together, each with as many ranks.

    `endpoint` is HOST:PORT, where machine 0 offers the rendezvous and the others find it.
    """

    count: int
    rank: int
    endpoint: str

    def __post_init__(self) -> None:
        require(self.count >= 1, f"machines: count is {self.count}; it must be at least 1")
        require(
            0 <= self.rank < self.count, f"machines: rank is {self.rank}; of {self.count}, it is 0 to {self.count - 1}"
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
) -> list[str]:
    """The command that starts a run or resumes it: the whole of it, or the part of one of several `machines`.

    Its working directory must be the project's. SIGTERM has every rank save and leave within `grace` seconds; what is
    left then is killed. The command exits with `LEFT_AFTER_SAVING` (`model.supervision.termination`) when a rank does,
    as all have saved by then, and with `PERMANENT_ERROR` when a rank does. Raises ValueError when the ranks cannot be
    shared evenly among the machines.
    """
    # The option is not called --run, which torchrun would take for an abbreviation of its own --run-path.
    what = ["model.train", "--lake", lake_uri, "--run-key", run]
    what += ["--layout", json.dumps(layout.to_plain()), "--cache", str(cache)]
    what += ["--retention", json.dumps(asdict(retention))]
    what += ["--trackers", ",".join(trackers)] if trackers else []
    return [sys.executable, "-m", "model.agent", str(grace), *_options(run, layout, machines), "-m", *what]


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends: a rank must not outlive its launcher."""
    # An agent that was killed while this process was still importing is no longer its parent.
    parent = int(os.environ.get(AGENT, os.getppid()))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _options(run: str, layout: Layout, machines: Machines | None) -> list[str]:
    """The agent's options: none for the one process of the native engine, torchrun's only where machines must meet."""
    if machines is None or machines.count == 1:
        return [] if layout.engine == "native" else [RANKS_HERE, str(layout.ranks)]
    each, rest = divmod(layout.ranks, machines.count)
    require(
        rest == 0 and each >= 1,
        f"layout: {layout.ranks} ranks cannot be shared evenly among {machines.count} machines; change either",
    )
    # Not the c10d back end: there, machine 0 takes the rendezvous with it when its ranks leave, and the agents that are
    # still waiting for theirs fail. It also numbers the machines as it likes (torch 2.13, `run.py` on --node-rank).
    return [
        *("--nnodes", str(machines.count), "--node-rank", str(machines.rank), "--nproc-per-node", str(each)),
        *("--rdzv-backend", "static", "--rdzv-endpoint", machines.endpoint, "--rdzv-id", run),
    ]
