"""Paths of members: only those that stay inside the folder of their archive."""

from __future__ import annotations

import re

from tasks.sources.containers.faults import BadMember

_DEEPEST = 100
_LONGEST = 4096  # PATH_MAX of Linux
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|[\\/]")
_SEPARATORS = re.compile(r"[\\/]")


class BadPath(Exception):
    """The path of a member is refused for `reason`."""

    def __init__(self, reason: BadMember, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def checked_path(raw: bytes | str) -> str:
    """The path without `.` and empty parts; bytes that are not UTF-8 become ``\\xNN``. Raises BadPath.

    No file is ever written to such a path. But ids have it, and other programs may write files that have the name of an
    id. Backslashes separate parts on Windows.
    """
    path = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    path = path.encode("utf-8", "backslashreplace").decode("utf-8")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if len(path) > _LONGEST or len(parts) > _DEEPEST:
        depth = f"{len(parts)} folders deep and {len(path)} characters long"
        raise BadPath(BadMember.path_too_deep, f"the path is {depth}; at most {_DEEPEST} and {_LONGEST} are read")
    if _DRIVE.match(path) or ".." in _SEPARATORS.split(path) or "\0" in path or not parts:
        raise BadPath(BadMember.unsafe_path, "the path is absolute, empty, or leads out of the archive")
    return "/".join(parts)


def shown(raw: bytes | str) -> str:
    """A path for messages: one line, and not too long."""
    path = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return repr(path if len(path) <= 100 else f"{path[:60]}…{path[-40:]}")
