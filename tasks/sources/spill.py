"""Rows that a reader puts aside until the whole file is read, in a file on disk: SQLite, in a folder of the worker."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from backports import zstd

from infra.scratch import scratch_folder

# Pages in memory, in KiB: what PRAGMA cache_size means by a negative number.
_CACHE = 64 << 10
_SPEED = 1  # of compression: the fastest level that still halves texts


@contextmanager
def spill(purpose: str, *declarations: str) -> Iterator[sqlite3.Connection]:
    """A database that goes when the block ends; `declarations` make its tables and indexes.

    It takes about as much of the disk of the temporary folder as what is put into it. Raises OSError when that is full.
    """
    with scratch_folder(purpose) as folder:
        database = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
        try:
            # Nobody reads the file after a crash.
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
                database.execute(f"PRAGMA {pragma}")
            database.execute(f"PRAGMA cache_size = -{_CACHE}")
            for declaration in declarations:
                database.execute(declaration)
            database.execute("BEGIN")
            yield database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname not in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
                raise
            detail = (
                "the disk is full: what is put aside of an input needs room. Set TMPDIR to a folder on another disk"
            )
            raise OSError(errno.ENOSPC, detail, str(folder)) from error
        finally:
            database.close()


class Packer:
    """Compresses values of rows. One compressor for all of them takes a third of the time of one for each."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(_SPEED)

    def pack(self, data: bytes) -> bytes:
        """The data, compressed."""
        return self._compressor.compress(data, self._compressor.FLUSH_FRAME)

    @staticmethod
    def unpack(data: bytes) -> bytes:
        """The data of a row, which this process has compressed."""
        return zstd.decompress(data)
