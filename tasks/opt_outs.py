"""Opt-outs: which entry of a dated list of hosts, URLs and prefixes of URLs is about a document.

The list is the step's model, a file or a folder of files. A new one gives other columns for the documents that it
touches only, so that nothing behind the other shards is made again.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.addresses.lists import AddressFile, AddressLists
from tasks.text.dates import instant
from tasks.text.urls import parse_url

OPT_OUTS_SCHEMA = pa.schema([("hit", pa.int8()), ("entry", pa.string()), ("since", pa.string())])
_DAY = 86_400 * 1_000_000  # microseconds


class OptOutsConfig(StageConfig):
    """`as_of`: entries with a later date are not there yet. An entry without a date always is."""

    as_of: datetime.date | None = None


def load_opt_outs(config: OptOutsConfig, files: Mapping[str, Path]) -> AddressLists:
    """The entries of all files. Raises ValueError that names the line for an entry that is none."""
    return AddressLists([AddressFile(name, path) for name, path in sorted(files.items())])


def try_opt_outs(files: Mapping[str, Path]) -> None:
    """Raises ValueError for a list with a line that is no entry, or that has something else than a date behind it."""
    load_opt_outs(OptOutsConfig(), files)


def describe_opt_out(columns: dict[str, Any]) -> list[str]:
    """The entry that is about a document, in words."""
    if not columns["hit"]:
        return ["no opt-out is about it"]
    since = f", of {columns['since']}" if columns["since"] else ""
    return [f"opted out by {columns['entry']}{since}"]


@stage(
    "opt_outs",
    version=1,
    kind=StageKind.annotate,
    config=OptOutsConfig,
    columns=["url"],
    libraries=["publicsuffixlist"],
    load=load_opt_outs,
    try_model=try_opt_outs,
    schema=OPT_OUTS_SCHEMA,
    describe=describe_opt_out,
)
def find_opt_outs(batch: Documents, config: OptOutsConfig, lists: AddressLists) -> Annotations:
    """The narrowest entry about each document (`tasks.addresses.entries`).

    - ``hit`` (int8): 1 where there is one, else 0, also for a document without a valid URL;
    - ``entry``, ``since`` (string): the entry and its date as written; null without one. Not its file and line: they
      may change while the entry stays.
    """
    day = None if config.as_of is None else instant(config.as_of.isoformat())
    as_of = None if day is None else day + _DAY
    return pa.Table.from_pylist([_row(url, lists, as_of) for url in batch["url"].to_pylist()], schema=OPT_OUTS_SCHEMA)


def _row(url: str | None, lists: AddressLists, as_of: int | None) -> dict[str, Any]:
    parts = parse_url(url)
    for entry in lists.about(parts) if parts is not None else ():
        since = entry.since
        if as_of is None or since is None or since < as_of:
            return {"hit": 1, "entry": entry.address, "since": entry.rest or None}
    return {"hit": 0}
