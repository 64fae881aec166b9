"""Documents from rows of named values: which fields are the text, the id, the metadata, and the part of the source."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pydantic

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome
from tasks.sources.extraction import storable
from tasks.sources.repair import REPAIRED, RepairConfig

PART = "part"  # the metadata with the name of the part
LARGEST_INTEGER = 1 << 63


class BrokenRow(StrEnum):
    """The fault of a row that could be read."""

    no_text = "no_text"
    bad_id = "bad_id"
    no_part = "no_part"
    not_unicode = "not_unicode"


class FieldsConfig(RepairConfig):
    """The fields of a row. ``meta.set`` is the field ``set`` of ``meta``, unless a field has that whole name.

    Of `metadata_fields`, those with plain values (string, number, boolean) are kept. Numbers that do not fit 64 bits
    are kept as strings. A URL that is no string, or a date that is neither that nor a time, is null. An id is a string
    or a number. Without an `id_field`, or where it is missing or null, the id comes from the file's content and the
    row's place in it: rows that repeat are documents like others.

    Line ends become LF, control characters and outer white space go, unless the text is `verbatim`.

    With a `part_field`, its value says to which part of the source a row belongs. `parts` are the names of parts by
    value; the recipe sets them. Rows with another value are dropped.
    """

    source: str = pydantic.Field("rows", min_length=1, pattern=r"^[^\s/]+$")
    text_field: str = "text"
    id_field: str | None = None
    url_field: str | None = "url"
    date_field: str | None = None
    licence: str | None = None
    metadata_fields: tuple[str, ...] = ()
    min_characters: int = pydantic.Field(1, ge=1)
    verbatim: bool = False
    part_field: str | None = None
    parts: dict[str, str] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _own_names(self) -> FieldsConfig:
        own = ["offset", *([PART] if self.part_field is not None else []), *([REPAIRED] if self.repair else [])]
        if taken := [name for name in self.metadata_fields if name in own]:
            raise ValueError(f"metadata_fields has {taken[0]!r}, which the reader writes itself: leave it out")
        return self

    def fields(self) -> list[str]:
        """The names of the fields that decide what a row becomes."""
        named = (self.text_field, self.id_field, self.url_field, self.date_field, self.part_field)
        return list(dict.fromkeys([name for name in (*named, *self.metadata_fields) if name]))


class Number(str):
    """The digits of a number that does not fit 64 bits: a string as metadata and as an id, but no text of the row."""


def outcome_of(values: Any, size: int, where: str, offset: int, config: FieldsConfig) -> Outcome:
    """What a row of `size` bytes becomes. Examples say where it is and not what it says: many people read them."""

    def failed(reason: BrokenRow, detail: str) -> Failed:
        return Failed(reason, size, f"{where}: {detail}", offset)

    text = value_at(values, config.text_field)
    if not isinstance(text, str) or isinstance(text, Number):
        return failed(BrokenRow.no_text, f"there is no string {config.text_field!r}")
    own = _own_id(values, config)
    if own == "":
        detail = f"{config.id_field!r} is neither a string of at least one character nor a number"
        return failed(BrokenRow.bad_id, detail)
    if not config.verbatim:
        text = storable(text)
    elif not _is_unicode(text):
        return failed(BrokenRow.not_unicode, "the text has a lone surrogate, which no UTF-8 can hold")
    if len(text) < config.min_characters:
        return Dropped("short_text" if text else "empty_text", size, where)
    plain: dict[str, str | int | float | None] = {"offset": offset}
    if config.part_field is not None:
        value = value_at(values, config.part_field)
        if not isinstance(value, str) or isinstance(value, Number):
            return failed(BrokenRow.no_part, f"there is no string {config.part_field!r}")
        if value not in config.parts:
            return Dropped("other_part", size, where)
        plain[PART] = config.parts[value]
    kept = {field: _plain(value_at(values, field)) for field in config.metadata_fields}
    document = Document(
        id=None if own is None else f"{config.source}/{own}",
        text=text,
        url=_string(value_at(values, config.url_field)),
        date=_string(_iso(value_at(values, config.date_field))),
        source=config.source,
        licence=config.licence,
        metadata={**plain, **{field: value for field, value in kept.items() if value is not None}},
    )
    return Kept(document, size)


def value_at(values: Any, field: str | None) -> Any:
    """The value of a field, or of a field of a field; None if there is none."""
    if field is None or not isinstance(values, Mapping):
        return None
    if field in values:
        return values[field]
    first, _, rest = field.partition(".")
    return value_at(values.get(first), rest) if rest else None


def _own_id(values: Any, config: FieldsConfig) -> str | None:
    """The id that a row has; None for none, and empty for one that cannot be an id."""
    own = value_at(values, config.id_field)
    if own is None:
        return None
    plain = _plain(own)
    return "" if plain is None or isinstance(plain, bool) else str(plain)


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else value


def _string(value: Any) -> str | None:
    return _without_surrogates(value) if isinstance(value, str) and not isinstance(value, Number) else None


def _plain(value: Any) -> str | int | float | None:
    """A value that is stored as it is, or as a string where a number does not fit 64 bits; None for all others."""
    if isinstance(value, str):
        return _without_surrogates(value)
    if isinstance(value, int):
        return value if -LARGEST_INTEGER <= value < LARGEST_INTEGER else str(value)
    return value if isinstance(value, float) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_surrogates(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, as six characters like ``\\ud800``: different ids stay different."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
