"""What a source can say of one record: it is a document, it is not wanted, or it is broken."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    """One text with an id that is stable across runs, and where it came from. `date` is ISO 8601."""

    id: str
    text: str
    url: str | None
    date: str | None
    source: str
    licence: str | None
    metadata: dict[str, str | int | float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A record that became a document; `bytes` is the size of its payload."""

    document: Document
    bytes: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sound record that is not wanted, such as a request or an image."""

    reason: str
    bytes: int
    example: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A broken record, or a fault of the file at the byte `offset`; the reason is from the source's closed list."""

    reason: str
    bytes: int
    example: str
    offset: int | None


Outcome = Kept | Dropped | Failed
