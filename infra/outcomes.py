"""Records of a source, and their outcomes: kept as a document, dropped, or failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

# The reason of a record that took more time or memory than a worker has for one. It depends on the machine.
OVER_BUDGET = "over_budget"


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its origin and an id that is stable across runs. `date` is ISO 8601.

    Where a source has no `id`, the engine makes one of the file's content and of the record's place in it.
    """

    id: str | None
    text: str
    url: str | None
    date: str | None
    source: str
    licence: str | None
    metadata: dict[str, str | int | float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A record that became a document; `bytes` is the size of its payload. `measures` names what else counts it."""

    document: Document
    bytes: int
    measures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A valid record that is not wanted, such as a request or an image."""

    reason: str
    bytes: int
    example: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A malformed record, or a defect of the file at byte `offset`. `reason` is from the source's fixed list."""

    reason: str
    bytes: int
    example: str
    offset: int | None


Outcome = Kept | Dropped | Failed


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a source found it. `outcome` reads it, which the engine does within the budget of one record.

    `data` are the bytes that decide the outcome, and `offset` is where they stand in the file.
    """

    data: bytes = field(repr=False)
    offset: int
    outcome: Callable[[], Outcome]


@dataclass(frozen=True, slots=True)
class Underway:
    """A source has read on without finding a record: what comes next is within a budget of its own.

    A source that must see much of a file before it can tell a record yields one after every few megabytes.
    """


Found = Record | Outcome | Underway


def read_all(found: Iterable[Found]) -> Iterator[Outcome]:
    """What a source yields, with every record read: for callers that need no budget."""
    for item in found:
        if not isinstance(item, Underway):
            yield item.outcome() if isinstance(item, Record) else item
