"""Finds personal data in texts: addresses of e-mail and IP, and numbers of phones, cards and bank accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import phonenumbers
import pyarrow as pa
import pydantic

from infra.documents import EDITS_TYPE, Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.personal_data.addresses import find_ip_addresses
from tasks.personal_data.emails import find_emails
from tasks.personal_data.found import Span
from tasks.personal_data.numbers import find_accounts, find_cards
from tasks.personal_data.phones import find_phones

Kind = Literal["email", "account", "card", "ip", "phone"]
# Kind → column of its count, and what masks it. In this order: a span belongs to the first kind that finds it.
_KINDS: dict[Kind, tuple[str, str]] = {
    "email": ("emails", "<EMAIL>"),
    "account": ("accounts", "<ACCOUNT>"),
    "card": ("cards", "<CARD>"),
    "ip": ("ip_addresses", "<IP>"),
    "phone": ("phones", "<PHONE>"),
}
_SPANS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("kind", pa.string())]))
PERSONAL_SCHEMA = pa.schema(
    [
        *(pa.field(column, pa.int64()) for column, _ in _KINDS.values()),
        pa.field("spans", _SPANS),
        pa.field("edits", EDITS_TYPE),
    ]
)


class PersonalDataConfig(StageConfig):
    """Which kinds are looked for, and which of them later steps and the corpus see masked.

    `regions` are countries (ISO 3166) whose phone numbers count also in national form. `replacements` maps kinds to
    what stands in their place, by default ``<EMAIL>``, ``<ACCOUNT>``, ``<CARD>``, ``<IP>`` and ``<PHONE>``.
    """

    kinds: tuple[Kind, ...] = pydantic.Field(tuple(_KINDS), min_length=1)
    mask: tuple[Kind, ...] = ()
    regions: tuple[str, ...] = ()
    replacements: dict[Kind, str] = pydantic.Field(default_factory=dict)

    @property
    def edits_text(self) -> bool:
        return bool(self.mask)

    @pydantic.model_validator(mode="after")
    def _fits(self) -> PersonalDataConfig:
        if lost := [kind for kind in (*self.mask, *self.replacements) if kind not in self.kinds]:
            raise ValueError(f"{lost[0]} is not in kinds, so it is not looked for: add it there")
        if unknown := [region for region in self.regions if region not in phonenumbers.SUPPORTED_REGIONS]:
            raise ValueError(f"regions: there is no region {unknown[0]}: give ISO 3166 codes such as DE and US")
        return self


def describe_personal_data(row: dict[str, Any]) -> list[str]:
    """What was found in one document."""
    counts = [f"{row[column]} {column}" for column, _ in _KINDS.values() if row[column]]
    masked = len(row["edits"] or ())
    return [f"personal data: {', '.join(counts)}; {masked} masked"] if counts else []


@stage(
    "personal_data",
    version=1,
    kind=StageKind.annotate,
    config=PersonalDataConfig,
    libraries=["phonenumbers", "python-stdnum", "publicsuffixlist"],
    schema=PERSONAL_SCHEMA,
    describe=describe_personal_data,
)
def find_personal_data(batch: Documents, config: PersonalDataConfig) -> Annotations:
    """For each document: the number of spans by kind, the spans as UTF-8 byte offsets, and edits that mask them.

    The count of a kind that is not looked for is null. Edits are null without a span to mask.
    """
    columns: dict[str, list[Any]] = {name: [] for name in PERSONAL_SCHEMA.names}
    for text in batch.column("text").to_pylist():
        found = _spans(text.encode(), config)
        for kind, (column, _) in _KINDS.items():
            columns[column].append(sum(k == kind for _, k in found) if kind in config.kinds else None)
        columns["spans"].append([{"start": span.start, "end": span.end, "kind": kind} for span, kind in found])
        edits = [
            {"start": span.start, "end": span.end, "replacement": config.replacements.get(kind, _KINDS[kind][1])}
            for span, kind in found
            if kind in config.mask
        ]
        columns["edits"].append(edits or None)
    return pa.table(list(columns.values()), schema=PERSONAL_SCHEMA)


def _spans(text: bytes, config: PersonalDataConfig) -> list[tuple[Span, Kind]]:
    """The spans in order of place. What one kind has found is no text for the kinds behind it."""
    finders: dict[Kind, Callable[[bytes], Iterator[Span]]] = {
        "email": find_emails,
        "account": find_accounts,
        "card": find_cards,
        "ip": find_ip_addresses,
        "phone": lambda given: find_phones(given, config.regions),
    }
    found: list[tuple[Span, Kind]] = []
    for kind in _KINDS:
        if kind not in config.kinds:
            continue
        spans = list(finders[kind](text))
        found += [(span, kind) for span in spans]
        if spans:
            left = bytearray(text)
            for span in spans:
                left[span.start : span.end] = b"\0" * (span.end - span.start)
            text = bytes(left)
    return sorted(found)
