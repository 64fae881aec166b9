"""The lake on a local folder: whole objects or none, and answers that can be told apart."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from infra.store import lake as lake_module
from infra.store.errors import Corrupt, NotThere, StoreDenied, StoreError, StoreFull, StoreUnavailable
from infra.store.lake import Lake


def test_what_is_written_is_read(lake: Lake, tmp_path: Path) -> None:
    lake.write("a/b.bin", b"12345")
    assert lake.read("a/b.bin") == b"12345"
    assert lake.size("a/b.bin") == 5
    assert lake.size("a") is None
    assert lake.size("a/none") is None
    lake.download("a/b.bin", tmp_path / "copy" / "b")
    assert (tmp_path / "copy" / "b").read_bytes() == b"12345"
    assert [(entry.path, entry.size) for entry in lake.list("a")] == [("a/b.bin", 5)]
    lake.delete("a/b.bin")
    lake.delete("a/b.bin")
    with pytest.raises(NotThere, match="b"):
        lake.read("a/b.bin")


def test_an_object_that_fails_half_way_is_never_seen(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (3 << 20))
    with (
        mock.patch.object(lake_module.faults, "reach", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        lake.upload(source, "parts/xx/half")
    assert lake.size("parts/xx/half") is None
    assert list(lake.list("parts")) == []


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StoreFull),
        (PermissionError("denied"), StoreDenied),
        (ConnectionRefusedError("refused"), StoreUnavailable),
        (TimeoutError("slow"), StoreUnavailable),
        (OSError(errno.EBUSY, "SlowDown"), StoreUnavailable),
        (OSError(errno.EROFS, "Read-only file system"), StoreError),
        (OSError(errno.ENOSYS, "Function not implemented"), StoreError),
    ],
)
def test_trouble_is_told_apart(lake: Lake, raised: OSError, expected: type[StoreError]) -> None:
    with mock.patch("os.replace", side_effect=raised), pytest.raises(expected, match="some/object") as caught:
        lake.write("some/object", b"1")
    assert type(caught.value) is expected
    assert lake.size("some/object") is None


@pytest.mark.parametrize("path", ["a" * 300, "folder"])
def test_what_can_never_be_written_is_not_tried_again(lake: Lake, path: str) -> None:
    lake.write("folder/object", b"1")
    with pytest.raises(StoreError, match="Name another place") as caught:
        lake.write(path, b"1")
    assert type(caught.value) is StoreError


def test_an_entry_tells_size_and_age_together(lake: Lake) -> None:
    lake.write("a/b", b"123")
    [listed] = lake.list("a")
    assert lake.entry("a/b") == listed
    assert (listed.path, listed.size, listed.upload) == ("a/b", 3, None)
    assert abs(listed.modified - time.time()) < 60
    assert lake.entry("a") is None
    assert lake.entry("a/none") is None


def test_only_a_folder_that_is_not_there_is_empty(lake: Lake) -> None:
    lake.write("a/b/c", b"1")
    assert list(lake.list("none")) == []
    assert list(lake.list("a/b/c")) == []
    scandir = os.scandir

    def fail(folder: int) -> Any:
        if os.readlink(f"/proc/self/fd/{folder}").endswith("/b"):
            raise OSError(errno.EIO, "Input/output error")
        return scandir(folder)

    with mock.patch("os.scandir", fail), pytest.raises(StoreUnavailable, match="Input/output error"):
        list(lake.list("a"))


def test_a_lake_of_another_format_is_refused(tmp_path: Path) -> None:
    Lake.open(str(tmp_path)).write_json("format.json", {"format": 99})
    with pytest.raises(StoreError, match="format 99"):
        Lake.open(str(tmp_path))


def test_a_lake_elsewhere_than_a_folder_or_s3_is_refused() -> None:
    with pytest.raises(StoreError, match="s3://bucket/prefix"):
        Lake.open("gs://bucket")


def test_broken_json_names_the_object_and_the_cure(lake: Lake) -> None:
    lake.write("x.json", b'{"half":')
    with pytest.raises(Corrupt, match=r"x\.json is not JSON.*Delete it"):
        lake.read_json("x.json")
