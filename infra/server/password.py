"""The password of a local server: one per state folder, in a file that only its owner can read."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

PASSWORD_FILE = "server-password"
USERS_OWN = "PREFECT_SERVER_API_AUTH_STRING"  # Prefect's server setting; takes precedence if set


class PasswordExposed(RuntimeError):
    """Other users can read or write the password file."""


def password(state_folder: Path) -> str:
    """The server's password as ``user:password`` (Prefect's auth string); created at the first call for a folder.

    Raises PasswordExposed when other users have access to the file.
    """
    given = os.environ.get(USERS_OWN)
    if given:
        return given
    path = state_folder / PASSWORD_FILE
    if not path.exists():
        _create(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, encoding="ascii") as file:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o077:
            raise PasswordExposed(f"other users can access {path}; cure: stop the server and delete the file")
        return file.read().strip()


def where_it_is(state_folder: Path) -> str:
    """A phrase that tells a person where to find the password."""
    if os.environ.get(USERS_OWN):
        return f"the value of {USERS_OWN}"
    return f"the line in {state_folder.absolute() / PASSWORD_FILE}"


def _create(path: Path) -> None:
    """Write a new password file atomically; keeps the file of another process that was faster."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"millrace:{secrets.token_urlsafe(32)}\n")
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
