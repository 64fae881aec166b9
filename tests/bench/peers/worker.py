"""`python worker.py SIDE INPUT FOLDER`: does a peer's work on command, in the peer's environment.

SIDE is a file with `prepare(input, folder)`, whose value is given to `work(value)`, which is timed, and to
`outcome(value)`, a list for JSON. Each line of the standard input is a command, and each line of the output an answer
in JSON: ``outcome FILE`` writes the outcome, ``work`` gives the CPU seconds of all threads, ``versions NAME ...`` gives
the versions of distributions. Only the standard library is imported here; what a peer prints goes to standard error.
"""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side_file, given, folder = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("side", side_file)
    side = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(side)
    value = side.prepare(Path(given), Path(folder))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "outcome":
            Path(arguments[0]).write_text(json.dumps(side.outcome(value)))
            answer = None
        elif command == "versions":
            found = [f"{name} {importlib.metadata.version(name)}" for name in arguments]
            answer = ", ".join([f"Python {platform.python_version()}", *found])
        else:
            gc.collect()
            started = _cpu_seconds()
            side.work(value)
            answer = _cpu_seconds() - started
        print(json.dumps(answer), file=answers, flush=True)


def _cpu_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


if __name__ == "__main__":
    main()
