"""Temporary folders of commands, which are cleared even when the command is killed: by the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "millrace-"
_LOCK = ".in-use"


@contextmanager
def scratch_folder(purpose: str = "") -> Iterator[Path]:
    """A new folder below the system's temporary folder; deleted at the end, with those of commands that were killed.

    The folder's lock belongs to this process: the kernel releases it however the process ends.
    """
    clear_abandoned()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{purpose}", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        fresh = folder / f"{_LOCK}.new"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            fresh.rename(folder / _LOCK)  # never visible without its lock
            yield folder
        finally:
            os.close(descriptor)


def clear_abandoned() -> list[Path]:
    """Delete this user's scratch folders that no process uses; returns them."""
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # not one of these folders, or not complete yet
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete(folder)
            gone.append(folder)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
    return gone


def _delete(folder: Path) -> None:
    """Delete a folder, its lock last: what a kill leaves of it is found again."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _LOCK:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
