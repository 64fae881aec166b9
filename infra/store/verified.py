"""Which files this user has compared with their sha256 on this machine: a second use costs a look at the file's status.

A verdict is one line, the digest of a file's path, device, inode, size, times and sha256. A file that is written again
has another inode or another time of change, which nobody can set, and is compared again. Verdicts lie in a folder that
only this user can write, never in a lake.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.store.digests import key_of, sha256_file

_FOLDER = "verified"
# Verdicts are spread over 256 files. A full one, of 16,000 verdicts, forgets its older half.
_FILE_BYTES = 1 << 20
# Longer than two ticks of the clock from which the kernel takes a file's time of change (CONFIG_HZ is at least 100).
_TICKS_SECONDS = 0.025


def machine_cache() -> Path:
    """This user's cache on this machine: $MILLRACE_CACHE, else millrace under $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("MILLRACE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millrace"


def has_sha256(path: Path, sha256: str, cache: Path) -> bool:
    """Whether a file has that sha256. Reads it unless this user has compared it before, on this machine.

    `cache` holds the verdicts where the user has no cache of their own. Raises OSError.
    """
    found = os.stat(path)
    folder = _private_folder(cache)
    verdict = _verdict(path, found, sha256)
    if folder is not None and _is_known(folder / verdict[:2], verdict):
        return True
    if sha256_file(path) != sha256:
        return False
    _remember(folder, path, found, sha256)
    return True


def note_sha256(path: Path, sha256: str, cache: Path) -> None:
    """Remember that a file, which only this user can write, has that sha256: the caller has just compared it."""
    _remember(_private_folder(cache), path, os.stat(path), sha256)


def once(fact: str, cache: Path, compare: Callable[[], None]) -> None:
    """Call `compare` unless it has returned before, for this user on this machine and this `fact`, a digest.

    One of the processes that share the folder `cache` does so while the others wait. Raises what `compare` raises.
    """
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(cache / f".{fact}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # The kernel releases the lock when the process dies.
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = _private_folder(cache)
        if folder is None or not _is_known(folder / fact[:2], fact):
            compare()
            _write(folder, fact)
    finally:
        os.close(lock)


def _verdict(path: Path, found: os.stat_result, sha256: str) -> str:
    return key_of(
        [
            str(path.absolute()),
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            sha256,
        ]
    )


def _private_folder(cache: Path) -> Path | None:
    """A folder that only this user can write, None if there is none."""
    for place in (machine_cache, lambda: cache):
        try:
            folder = place() / _FOLDER
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
            usable = os.access(folder, os.W_OK | os.X_OK)
        except (OSError, RuntimeError):  # RuntimeError: a user without a home
            continue
        if usable and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:
            return folder
    return None


def _is_known(file: Path, verdict: str) -> bool:
    try:
        return f"{verdict}\n".encode() in file.read_bytes()
    except OSError:
        return False


def _remember(folder: Path | None, path: Path, found: os.stat_result, sha256: str) -> None:
    """Write the verdict on a file that had the status `found` before it was read.

    Best effort: without the verdict, the next use reads the file again.
    """
    # A write within the same tick as the last one would leave the times as they are.
    age = time.time() - found.st_ctime
    if 0 <= age < _TICKS_SECONDS:
        time.sleep(_TICKS_SECONDS - age)
    verdict = _verdict(path, found, sha256)
    if _verdict(path, os.stat(path), sha256) == verdict:
        _write(folder, verdict)


def _write(folder: Path | None, verdict: str) -> None:
    if folder is None:
        return
    file = folder / verdict[:2]
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{verdict}\n".encode())
            full = os.fstat(descriptor).st_size > _FILE_BYTES
        finally:
            os.close(descriptor)
        if full:
            half = file.with_name(f"{file.name}-{uuid.uuid4().hex}")
            half.write_bytes(file.read_bytes()[-(_FILE_BYTES // 2) :])
            half.replace(file)
    except OSError:
        return
