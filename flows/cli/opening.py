"""Opening a lake to read what is in it: one that is not there is a slip of the pen, and not made."""

from __future__ import annotations

from infra.store.errors import NotThere, StoreError
from infra.store.lake import Lake


class NoLake(StoreError):
    """Nothing at that place is a lake."""


def open_lake(uri: str) -> Lake:
    """The lake that is at `uri`. Raises NoLake when there is none, and what `Lake.open` raises."""
    try:
        place(uri).read_json("format.json")
    except NotThere as error:
        raise NoLake(
            f"there is no lake at {uri}: check --lake and MILLRACE_LAKE, or make one with `millrace build`"
        ) from error
    return Lake.open(uri)


def place(uri: str) -> Lake:
    """Where the lake at `uri` is or would be, untouched. Raises StoreError for a URI that can be none."""
    where = uri.removeprefix("file://").rstrip("/")
    if "://" in where and not where.startswith("s3://"):
        raise StoreError(f"{uri}: a lake is a local folder or s3://bucket/prefix")
    return Lake(where)
