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
from model.parallel.network import split_endpoint

PR_SET_PDEATHSIG = 1  # linux/prctl.h
AGENT = "MILLRACE_AGENT"  # the process id of the agent that starts ranks
# Options of `model.agent`: the ranks of this machine, and its place among the machines of a run.
RANKS, MACHINES, MACHINE, ENDPOINT, RUN = "--ranks", "--machines", "--machine", "--endpoint", "--run"
GRACE_SECONDS = 20  # as in `infra.launcher.launch`; Prefect kills a cancelled flow after 30 s


@dataclass(frozen=True)
class Machines:
    """This machine's rank among `count` machines that train one run together, with equal numbers of ranks each.

    `endpoint` is HOST:PORT, where machine 0 serves the rendezvous: an address of machine 0, or a name of one.
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
        split_endpoint(self.endpoint)


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
    """The agent's options; none for the native engine's one process."""
    if machines is None or machines.count == 1:
        return [] if layout.engine == "native" else [RANKS, str(layout.ranks)]
    each, rest = divmod(layout.ranks, machines.count)
    require(
        rest == 0 and each >= 1,
        f"layout: {layout.ranks} ranks cannot be shared evenly among {machines.count} machines; change either",
    )
    return [
        *(RANKS, str(each), MACHINES, str(machines.count), MACHINE, str(machines.rank)),
        *(ENDPOINT, machines.endpoint, RUN, run),
    ]
