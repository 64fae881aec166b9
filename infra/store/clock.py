"""The clock of a store, by which the ages of its objects are told."""

from __future__ import annotations

import time
import uuid

from infra.store.errors import StoreDenied, StoreError
from infra.store.lake import Lake

FOLDER = "clock"
# Clocks that NTP keeps differ by less than a second.
MOST_SKEW_SECONDS = 300.0


def store_time(lake: Lake) -> float:
    """The time by the store's clock, in POSIX seconds: that of an object written now.

    Raises StoreError when this machine's clock differs by more than MOST_SKEW_SECONDS: it would take old objects for
    young ones, or young ones for old. In a lake that this user cannot write, nothing depends on ages; then it is the
    time of this machine.
    """
    path = f"{FOLDER}/{uuid.uuid4().hex}"
    started = time.time()
    try:
        lake.write(path, b"")
    except StoreDenied:
        return started
    try:
        written = lake.entry(path)
    finally:
        lake.delete(path)
    ended = time.time()
    if written is None:
        raise StoreError(f"{lake.uri}/{path} was deleted while it told the store's time: start again")
    skew = max(started - written.modified, written.modified - ended, 0)
    if skew > MOST_SKEW_SECONDS:
        raise StoreError(
            f"the clock of this machine and that of {lake.uri} differ by {skew / 60:.0f} minutes, so nobody can tell "
            "which objects are old. Set the clock (NTP does), then start again."
        )
    return written.modified
