"""What readers put aside lies in the folder for temporary files, and goes with the reader."""

from __future__ import annotations

import errno
import io
import tempfile
from pathlib import Path

import pytest

from tasks.sources.reddit import RedditConfig, read_reddit
from tasks.sources.spill import Packer, spill
from tests.tasks.sources.test_reddit import comment


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_full_disk_says_what_to_do(folder: Path) -> None:
    with pytest.raises(OSError, match="Set TMPDIR") as caught:
        with spill("test-", "CREATE TABLE row (data BLOB)") as database:
            database.execute("PRAGMA max_page_count = 3")
            for _ in range(100):
                database.execute("INSERT INTO row VALUES (?)", (bytes(9_000),))
    assert caught.value.errno == errno.ENOSPC
    assert list(folder.iterdir()) == []


def test_nothing_is_left_of_a_reader_that_is_given_up(folder: Path) -> None:
    lines = comment("a") + comment("b", thread="t1")
    found = read_reddit(io.BytesIO(lines), "RC", RedditConfig())
    next(found)
    assert len(list(folder.iterdir())) == 1
    found.close()  # type: ignore[attr-defined]
    assert list(folder.iterdir()) == []


def test_values_are_packed_one_by_one() -> None:
    packer = Packer()
    values = [b"", b"words " * 99, bytes(100_000)]
    packed = [packer.pack(value) for value in values]
    assert [Packer.unpack(data) for data in packed] == values
    assert len(packed[1]) < 99
