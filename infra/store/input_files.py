"""The local files that a path, a folder or a glob names. What is left out is told."""

from __future__ import annotations

import glob
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from infra.store.errors import StoreDenied, StoreError

_LAKE_FILE = "format.json"
_LARGEST_LAKE_FILE = 1 << 10
_logger = logging.getLogger("millrace.inputs")


def match_local(pattern: str) -> Iterator[str]:
    """The files, sorted by path. Links are followed. Hidden files of folders are left out with a warning.

    Raises StoreError for what cannot be an input: a dangling link, a link to a folder around it, a pipe, device or
    socket, a name that is not UTF-8, a lake. Raises StoreDenied for a folder that cannot be read.
    """
    path = str(Path(pattern.removeprefix("file://")).expanduser().absolute())
    if os.path.isdir(path):
        yield from sorted(_files_in(path, ()))
        return
    matches = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))
    folders = 0
    # A pattern with ** passes through folders without naming them.
    for around in {parent for name in matches for parent in _folders_around(name, path)}:
        _refuse_lake(around)
    for name in matches:
        mode = _mode(name)
        if stat.S_ISDIR(mode):
            folders += 1
        else:
            yield _checked(name, mode)
    if folders and "**" not in path:
        _logger.warning(
            "%s matches %d folders, whose files are left out: name the folders, or use ** in the pattern",
            _shown(pattern),
            folders,
        )


def local_status(path: str) -> tuple[int, str] | None:
    """The size of a file, and a stamp that changes with its content; None if there is no such file.

    The stamp has the inode and the time of the last change of status, which no program sets back.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size, f"{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def _files_in(folder: str, around: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The files below a folder; `around` identifies the folders around it."""
    here = os.stat(folder)
    identity = here.st_dev, here.st_ino
    if identity in around:
        raise StoreError(
            f"{_shown(folder)} is a link to a folder around it: remove the link, or name its folders alone"
        )
    _refuse_lake(folder)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except PermissionError as error:
        raise StoreDenied(f"the folder {_shown(folder)} cannot be read: {error.strerror}. Change its mode") from error
    hidden = [name for name in names if name.startswith(".")]
    if hidden:
        _logger.warning(
            "%d hidden files or folders in %s are left out, such as %s: name them to read them",
            *(len(hidden), _shown(folder), _shown(hidden[0])),
        )
    for name in names:
        if name.startswith("."):
            continue
        path = os.path.join(folder, name)
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            yield from _files_in(path, (*around, identity))
        else:
            yield _checked(path, mode)


def _mode(path: str) -> int:
    """The mode of what a path leads to. Raises StoreError for a link that leads nowhere."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if os.path.islink(path):
            target = _shown(os.readlink(path))
            raise StoreError(
                f"{_shown(path)} is a link to {target}, which cannot be followed ({error.strerror}): remove or mend it"
            ) from error
        raise StoreDenied(f"{_shown(path)} cannot be looked at: {error.strerror}") from error


def _checked(path: str, mode: int) -> str:
    if not stat.S_ISREG(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise StoreError(f"{_shown(path)} is a {kind}, not a file: write it to a file first, or move it away")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StoreError(f"the name {_shown(path)} is not UTF-8: rename the file or the folder") from error
    return path


def _folders_around(name: str, pattern: str) -> list[str]:
    """The folders between a match and the part of the pattern without wildcards."""
    fixed = len(pattern.split("**")[0])
    around = [str(parent) for parent in Path(name).parents]
    return [folder for folder in around if len(folder) >= fixed - 1] if "**" in pattern else []


def _refuse_lake(folder: str) -> None:
    if _is_lake(folder):
        raise StoreError(
            f"{_shown(folder)} is a lake, not input: name the folders beside it, or move the lake out of the inputs"
        )


def _is_lake(folder: str) -> bool:
    path = os.path.join(folder, _LAKE_FILE)
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_LAKE_FILE:
            return False
        with open(path, "rb") as stream:
            content = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and list(content) == ["format"]


def _shown(name: str) -> str:
    """A file name for a message; bytes that are not UTF-8 as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
