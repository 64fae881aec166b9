"""Deterministic deaths for tests: the process group is killed at a named point of the work.

``MILLRACE_FAULT=point:count`` kills at the count-th time that *any* process of the run reaches the point; the
count is kept in the file that ``MILLRACE_FAULT_FOLDER`` names, so that it is shared between processes and so
that a retry with the same environment passes the point alive. ``MILLRACE_FAULT_TARGET=process`` kills only the
process itself (a lost pool worker) in place of its whole group.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def reach(point: str) -> None:
    """Die here if the environment says so; otherwise return at once."""
    plan = os.environ.get("MILLRACE_FAULT")
    if plan is None or plan.rpartition(":")[0] != point:
        return
    count = int(plan.rpartition(":")[2])
    tally = Path(os.environ["MILLRACE_FAULT_FOLDER"]) / "reached"
    descriptor = os.open(tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b".")
    # The end of our own byte: the size of the file may already count another process.
    reached = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.close(descriptor)
    if reached != count:
        return
    if os.environ.get("MILLRACE_FAULT_TARGET") == "process":
        os.kill(os.getpid(), signal.SIGKILL)
    os.killpg(os.getpgid(0), signal.SIGKILL)
