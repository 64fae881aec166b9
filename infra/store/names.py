"""Mutable names such as ``corpus/weekly`` that point to artifacts, for people, schedules and the dashboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.schema import Component, Digest, find_object, read_object

_CURE = "Delete it, then build again to give the name again"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._@-]*)*")


@dataclass(frozen=True, slots=True)
class Reference:
    """The target of a name: the stage, key and digest of an artifact."""

    stage: Component
    key: Digest
    digest: Digest


def check_name(name: str) -> None:
    """Raises StoreError when `name` is not a valid name."""
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name!r} is not a name: use lower-case letters, digits, '.', '_', '-' and '/'")


def point(lake: Lake, name: str, reference: Reference) -> None:
    """Make `name` point to an artifact."""
    lake.write_json(_path(name), asdict(reference))


def look_up(lake: Lake, name: str) -> Reference | None:
    """The target of `name`, or None when the name does not exist."""
    return find_object(lake, _path(name), Reference, _CURE)


def all_names(lake: Lake) -> Iterator[tuple[str, Reference]]:
    """Every name of the lake with its target."""
    for entry in lake.list("names"):
        name = entry.path.removeprefix("names/").removesuffix(".json")
        yield name, read_object(lake, entry.path, Reference, _CURE)


def _path(name: str) -> str:
    check_name(name)
    return f"names/{name}.json"
