"""Outcomes of one source record: kept as a document, dropped, or failed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its origin and an id that is stable across runs. `date` is ISO 8601."""

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
