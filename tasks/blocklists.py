"""Blocklists: the categories under which lists of hosts and URLs have a document's address.

The lists are the step's model: a file, or a folder with a file for each category, or with a folder for each, in which
``domains`` and ``urls`` are read, as in the lists of the university of Toulouse (UT1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.addresses.lists import AddressFile, AddressLists
from tasks.text.urls import parse_url

BLOCKLISTS_SCHEMA = pa.schema([("blocked", pa.int8()), ("blocked_by", pa.string()), ("entry", pa.string())])
_READ = ("domains", "urls")  # of the folder of a category; UT1's `expressions` are patterns, and not read


class BlocklistsConfig(StageConfig):
    """`categories`: those that count; by default all that the lists have."""

    categories: tuple[str, ...] | None = pydantic.Field(None, min_length=1)


def load_blocklists(config: BlocklistsConfig, files: Mapping[str, Path]) -> AddressLists:
    """The entries of the categories that count. Raises ValueError if there is no list of one of them."""
    named = {name: category for name in files if (category := category_of(name)) is not None}
    wanted = set(named.values()) if config.categories is None else set(config.categories)
    if missing := sorted(wanted - set(named.values())):
        raise ValueError(f"no list is of the category {missing[0]}; there are {', '.join(sorted(set(named.values())))}")
    if not named:
        raise ValueError(f"{next(iter(sorted(files)), 'nothing')} is no list: give CATEGORY, CATEGORY/domains or /urls")
    chosen = sorted(name for name in named if named[name] in wanted)
    return AddressLists([AddressFile(name, files[name], below=True, strict=False) for name in chosen])


def category_of(name: str) -> str | None:
    """The category of a file: its folder, or its name without an ending. None for files that are no lists."""
    path = PurePosixPath(name)
    if path.parent.name:
        return path.parent.name if path.name in _READ else None
    return None if path.name.upper().startswith(("README", "LICENSE", "COPYING", ".")) else path.name.partition(".")[0]


def try_blocklists(files: Mapping[str, Path]) -> None:
    """Raises ValueError for files that are no lists."""
    load_blocklists(BlocklistsConfig(), files)


@stage(
    "blocklists",
    version=1,
    kind=StageKind.annotate,
    config=BlocklistsConfig,
    columns=["url"],
    libraries=["publicsuffixlist"],
    load=load_blocklists,
    try_model=try_blocklists,
    schema=BLOCKLISTS_SCHEMA,
)
def find_blocked(batch: Documents, config: BlocklistsConfig, lists: AddressLists) -> Annotations:
    """Which lists have the address of each document, its host, or what is above them (`tasks.addresses.entries`).

    - ``blocked`` (int8): 1 where one has, else 0, also for a document without a valid URL;
    - ``blocked_by`` (string): the categories, by name and separated by commas; ``entry`` (string): the narrowest entry.
      Both are null where no list has it.
    """
    return pa.Table.from_pylist([_row(url, lists) for url in batch["url"].to_pylist()], schema=BLOCKLISTS_SCHEMA)


def _row(url: str | None, lists: AddressLists) -> dict[str, Any]:
    parts = parse_url(url)
    found = [] if parts is None else list(lists.about(parts))
    if not found:
        return {"blocked": 0}
    categories = sorted({category for entry in found if (category := category_of(entry.file)) is not None})
    return {"blocked": 1, "blocked_by": ", ".join(categories), "entry": found[0].address}
