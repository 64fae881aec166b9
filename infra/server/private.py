"""The state folder, for its user alone: its database holds the parameters and logs of every run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from infra.server.password import PASSWORD_FILE
from infra.server.process import LOG_FILE

DATABASE_FILE = "prefect.db"
WRITE_AHEAD = (f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm")


def private_folder(state_folder: Path) -> None:
    """Make the state folder if needed, and take the rights of other users from it and from its files.

    A folder that holds other things than a server's state keeps its mode; its database is private all the same.
    """
    state_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = set(os.listdir(state_folder))
    if not held or held & {DATABASE_FILE, PASSWORD_FILE}:
        _restrict(state_folder, 0o700)
    # SQLite gives its further files the mode of the database.
    os.close(os.open(state_folder / DATABASE_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for name in (DATABASE_FILE, *WRITE_AHEAD, LOG_FILE):
        _restrict(state_folder / name, 0o600)


def _restrict(path: Path, mode: int) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    shared = found.st_mode & stat.S_ISVTX  # such as /tmp
    if found.st_uid == os.geteuid() and found.st_mode & 0o077 and not shared and not stat.S_ISLNK(found.st_mode):
        path.chmod(mode)
