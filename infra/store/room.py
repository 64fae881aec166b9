"""Room on the disk of a cache: copies of parts that were not used for some time make room for others."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path

from infra.store.digests import sha256_bytes

FREE_SHARE = 0.1  # of the disk stays free
# From the time a copy is asked for to the time it is open: the files of a model are fetched together.
_USED_SECONDS = 600.0
_COPY = re.compile(r"([0-9a-f]{64})(\.[a-z0-9.]+)?")


def lock_of(name: str) -> str:
    """The name of the lock of a copy; `name` is the digest of the part's sha256. Its time is that of the last use."""
    return f".{name}.lock"


def make_room_for(size: int, cache: Path) -> None:
    """Delete the copies that were not used for the longest time, until `size` more bytes leave a tenth of the disk.

    Whoever has a copy open keeps it. Copies that were asked for in the last minutes stay.
    """
    disk = shutil.disk_usage(cache)
    missing = size + int(FREE_SHARE * disk.total) - disk.free
    if missing <= 0:
        return
    aged = []
    for copy in cache.iterdir():
        if found := _COPY.fullmatch(copy.name):
            with contextlib.suppress(FileNotFoundError):
                used = (cache / lock_of(sha256_bytes(found[1].encode()))).stat().st_mtime
                aged.append((used, copy, copy.stat().st_size))
    for used, copy, freed in sorted(aged):
        if missing <= 0 or time.time() - used < _USED_SECONDS:
            return
        copy.unlink(missing_ok=True)
        missing -= freed
