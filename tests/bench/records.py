"""Results of benchmarks as JSON files in docs/results, from which the documents' figures are rendered.

A record holds what was measured, on what, when and at which commit. `tests/bench/render.py` turns records into text.
"""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "results"


class _Plain(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Spread(_Plain):
    """Median, least and most of `count` values, in the unit of what it is of: seconds, or none for a ratio."""

    median: float
    least: float
    most: float
    count: int = pydantic.Field(ge=1)


class Input(_Plain):
    """What both sides were given: `items` of `unit`, and `bytes` of `bytes_of`."""

    name: str
    items: int
    unit: str
    bytes: int
    bytes_of: str


class Side(_Plain):
    """One side: CPU seconds of a run, and MiB of a process before it began and at most, where that was measured."""

    name: str
    seconds: Spread
    loaded_mib: float | None = None
    peak_mib: float | None = None


class Compared(_Plain):
    """Ours and a peer's, and the peer's seconds / ours for every pair."""

    ours: Side
    peer: Side
    ratio: Spread


class Row(_Plain):
    """One kind of work, ours and a peer's: `unit` of CPU time, and the peer's seconds / ours, which `floor` bounds.

    Without figures the peer could not be run, and `note` says why. `outputs_agree` is None where outputs cannot be
    compared; `agreement` says in words what was compared.
    """

    work: str
    peer: str
    unit: str
    floor: float
    ours: float | None = None
    theirs: float | None = None
    ratio: Spread | None = None
    outputs_agree: bool | None = None
    agreement: str
    versions: str
    machine: str
    note: str = ""


class Record(_Plain):
    """The result of a command. `values` are figures of another form; `note` says what a reader must know of them."""

    name: str
    about: str
    command: str
    date: datetime.date
    commit: str
    machine: str
    versions: str
    input: Input | None = None
    compared: tuple[Compared, ...] = ()
    rows: tuple[Row, ...] = ()
    values: dict[str, Any] = {}
    note: str = ""


class Recorder:
    """Collects what the benchmark that runs now prints, to be written when it has ended."""

    def __init__(self) -> None:
        self._started: dict[str, Any] | None = None

    def start(self, **fields: Any) -> None:
        """Begin a record; what follows belongs to it."""
        self._started = {"compared": [], "rows": [], "values": {}, **fields}

    def add(self, compared: Compared) -> None:
        """Add a comparison to the record that was begun."""
        if self._started is not None:
            self._started["compared"].append(compared)

    def row(self, row: Row) -> None:
        """Add a row of the comparison with other projects' tools."""
        if self._started is not None:
            self._started["rows"].append(row)

    def set(self, **values: Any) -> None:
        """Add figures of another form."""
        if self._started is not None:
            self._started["values"].update(values)

    def finish(self, command: str) -> Record:
        """The record; the next one begins with `start`. Raises ValueError when none was begun."""
        if self._started is None:
            raise ValueError("this benchmark began no record")
        today = datetime.datetime.now(tz=datetime.UTC).date()
        made = Record(command=command, date=today, commit=commit(), **self._started)
        self._started = None
        return made


RECORDER = Recorder()


def spread(values: Sequence[float], median: float) -> Spread:
    """Of measured values."""
    return Spread(median=median, least=min(values), most=max(values), count=len(values))


def commit() -> str:
    """The short hash of the commit that is checked out, with ``+changes`` where files differ from it."""
    head = _git("rev-parse", "--short=7", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/results")
    return f"{head}+changes" if changed else head


def write_record(record: Record, folder: Path = FOLDER) -> Path:
    """Write NAME.json, in place of an earlier result."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{record.name}.json"
    file.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return file


def read_records(folder: Path = FOLDER) -> dict[str, Record]:
    """Name → record. Raises ValueError naming the file when one has another form."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            record = Record.model_validate_json(file.read_bytes())
        except pydantic.ValidationError as error:
            raise ValueError(f"{file} is no record of a benchmark: {error}") from error
        if record.name != file.stem:
            raise ValueError(f"{file} holds the record {record.name!r}: the two names must be the same")
        found[record.name] = record
    return found


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, text=True, capture_output=True, check=True).stdout.strip()
