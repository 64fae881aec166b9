"""Fault injection for tests: kills the process group at a named point of the work.

``MILLRACE_FAULT=point:count`` kills when *any* process of the run reaches the point for the count-th time. A file in
the folder ``MILLRACE_FAULT_FOLDER`` holds the count, so processes share it and a retry with the same environment
passes the point. ``MILLRACE_FAULT_TARGET=process`` kills only the process itself (a lost pool worker) instead of its
process group.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def reach(point: str) -> None:
    """Kill this process (group) if the environment requests a fault at `point`; otherwise return."""
    plan = os.environ.get("MILLRACE_FAULT")
    if plan is None or plan.rpartition(":")[0] != point:
        return
    count = int(plan.rpartition(":")[2])
    tally = Path(os.environ["MILLRACE_FAULT_FOLDER"]) / "reached"
    descriptor = os.open(tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b".")
    # The offset after our own byte: the file size may already include another process's byte.
    reached = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.close(descriptor)
    if reached != count:
        return
    if os.environ.get("MILLRACE_FAULT_TARGET") == "process":
        os.kill(os.getpid(), signal.SIGKILL)
    os.killpg(os.getpgid(0), signal.SIGKILL)
