"""Paths of objects in a lake, relative to its URI."""

from __future__ import annotations

import re

from infra.store.errors import StoreError

# Components without NUL, other control characters and backslashes; none is "." or "..".
_COMPONENT = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f]+"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


def check_path(path: str) -> str:
    """Returns `path`. Raises StoreError when it is no path of an object, or leads out of the lake."""
    if not _PATH.fullmatch(path):
        raise StoreError(
            f"{path!r} is not the path of an object of a lake: it must be relative, without '..', empty components, "
            "backslashes and control characters. Delete the object that names it."
        )
    return path
