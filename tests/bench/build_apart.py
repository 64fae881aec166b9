"""`python -m tests.bench.build_apart RECIPE LAKE WORKERS`: a build as a command runs it, with its own CPU taken apart.

The last line of the output is JSON: seconds of this process by what it did, without those of its workers.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEYS = "keys, manifests and ledgers"
SCHEDULING = "giving units to workers"
PREFECT = "Prefect"
IMPORTS = "Python's start and imports"


class Clock:
    """Seconds of CPU by label, of all threads. Within a block, those of inner blocks count for the inner ones."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextmanager
    def of(self, label: str) -> Iterator[None]:
        """Count the time of this thread within the block for `label`."""
        outer = getattr(self._local, "label", None)
        self._switch(outer, label)
        try:
            yield
        finally:
            self._switch(label, outer)

    def around(self, owner: Any, names: list[str], label: str) -> None:
        """Count the time within functions of a class or module for `label`."""
        for name in names:
            setattr(owner, name, self._counted(getattr(owner, name), label))

    def _counted(self, function: Any, label: str) -> Any:
        @functools.wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            with self.of(label):
                return function(*arguments, **named)

        return counted

    def _switch(self, before: str | None, after: str | None) -> None:
        now = time.thread_time()
        if before is not None:
            with self._lock:
                self.seconds[before] += now - self._local.since
        self._local.label, self._local.since = after, now


def main() -> None:
    """Build, and print."""
    recipe, lake, workers = sys.argv[1:]
    import flows.cli.main  # noqa: F401 - as the command does
    from flows.cli.serving import prefect_server

    with prefect_server():
        from flows import build
        from infra.engine.pool import LocalPool
        from infra.orchestration import StageRunner
        from infra.progress import ProgressReports

        clock = Clock()
        clock.around(StageRunner, ["_make", "_manifests", "_check_failures"], KEYS)
        own = ["load_recipe", "build_tasks", "ledgers", "count_tokens", "write_build", "point", "failure_rows"]
        clock.around(build, [*own, "failure_counts"], KEYS)
        clock.around(LocalPool, ["run", "_serve", "__exit__"], SCHEDULING)
        clock.around(ProgressReports, ["__call__"], PREFECT)
        clock.around(sys.modules["_frozen_importlib"], ["_find_and_load"], IMPORTS)  # those that come late
        imported = time.process_time()
        build.build_corpus(recipe=recipe, lake=lake, workers=int(workers))
        flow = time.process_time() - imported
    rest = flow - sum(seconds for label, seconds in clock.seconds.items() if label != PREFECT)
    clock.seconds[PREFECT] = rest
    clock.seconds[IMPORTS] += imported
    print(json.dumps(clock.seconds))


if __name__ == "__main__":
    main()
