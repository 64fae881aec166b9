"""Errors that the Prefect server writes to its log and shows nowhere else: of its scheduler, automations and events."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.server.repeat import repeated

TAIL_BYTES = 5_000_000  # read at most this much of a log, from its end
STARTED = "server started"  # a line that `infra.server.process` writes; what lies before it is history
_RECORD = re.compile(r"^\d\d:\d\d:\d\d\.\d+ \| (?P<level>[A-Z]+) *\| (?P<logger>\S+) - (?P<message>.*)$")
# The services of Prefect 3.8.8 are tasks of Docket, whose record names the task: `↩ [ 259ms] task(arguments){key}`.
_TASK = re.compile(r"^\W* *\[ *[^]]*\] (?P<task>\w+)\(")
_LEVELS = ("ERROR", "CRITICAL")
_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ServiceError:
    """What failed (a service's task, or a logger), and the last line of its traceback, else its message."""

    service: str
    cause: str

    def __str__(self) -> str:
        return f"{self.service}: {self.cause}"


@contextmanager
def tell_service_errors(log: Path, tell: Callable[[str], None], interval: float = 5.0) -> Iterator[None]:
    """Within the context, look at the log every `interval` seconds; `tell` is called once for each different error."""
    told: set[ServiceError] = set()
    seen = -1

    def look() -> None:
        nonlocal seen
        size = log.stat().st_size if log.exists() else 0
        if size == seen:
            return
        seen = size
        for error in service_errors(log).keys() - told:
            told.add(error)
            tell(f"the server reports an error in {error}; see {log}")

    try:
        with repeated(look, interval):
            yield
    finally:
        look()


def service_errors(log: Path) -> Counter[ServiceError]:
    """The errors since the last start of the server, with their counts; empty where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return Counter()
    return Counter(_errors(text.rpartition(STARTED)[2]))


def _errors(text: str) -> Iterator[ServiceError]:
    error: re.Match[str] | None = None
    cause = ""
    for line in text.splitlines():
        record = _RECORD.match(line)
        if record is None:
            # The exception stands at the left margin, below the frames of its traceback.
            if error is not None and line and not line[0].isspace() and not line.startswith("Traceback "):
                cause = line
            continue
        if error is not None:
            yield _error(error, cause)
        error, cause = (record, "") if record["level"] in _LEVELS else (None, "")
    if error is not None:
        yield _error(error, cause)


def _error(record: re.Match[str], cause: str) -> ServiceError:
    task = _TASK.match(record["message"])
    text = "".join(each if each.isprintable() else "\ufffd" for each in cause or record["message"])
    return ServiceError(task["task"] if task else record["logger"], text[:_MESSAGE_CHARACTERS])
