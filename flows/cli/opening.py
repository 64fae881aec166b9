"""Opens existing lakes. A missing lake is an error, most likely a typo, and is not created."""

from __future__ import annotations

from infra.store.errors import NotThere, StoreError
from infra.store.lake import Lake, refuse_credentials


class NoLake(StoreError):
    """There is no lake at this URI."""


def open_lake(uri: str) -> Lake:
    """The lake at `uri`. Raises NoLake when there is none, and the errors of `Lake.open`."""
    try:
        place(uri).format()
    except NotThere as error:
        raise NoLake(
            f"there is no lake at {uri}: check --lake and MILLRACE_LAKE, or create one with `millrace build`"
        ) from error
    return Lake.open(uri)


def place(uri: str) -> Lake:
    """The storage at `uri`, without opening or creating a lake. Raises StoreError for an invalid URI."""
    refuse_credentials(uri)
    where = uri.removeprefix("file://").rstrip("/")
    if "://" in where and not where.startswith("s3://"):
        raise StoreError(f"{uri}: a lake is a local folder or s3://bucket/prefix")
    return Lake(where)
