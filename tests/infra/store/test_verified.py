"""A part is compared with its sha256 before its first use on a machine; then a use costs a look at its status."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from infra.engine.shards import PartReader
from infra.store import verified
from infra.store.digests import sha256_bytes, sha256_file
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part, fetch_part
from infra.store.verified import has_sha256
from tests.infra.store.hostile import store


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's cache."""
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "machine"))
    return tmp_path / "machine"


@pytest.fixture
def part(lake: Lake, tmp_path: Path) -> Part:
    return store(lake, tmp_path / "own", b"good rows", suffix=".parquet")


def tamper(lake: Lake, part: Part, *, in_place: bool) -> None:
    """Other bytes of the same size, under the old time of modification."""
    path = Path(lake.uri, part.path)
    before = path.stat()
    if not in_place:
        path.unlink()
    path.write_bytes(b"evil rows")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("used_before", [True, False])
def test_exchanged_bytes_of_equal_size_are_never_used(
    lake: Lake, part: Part, tmp_path: Path, in_place: bool, used_before: bool
) -> None:
    reader = PartReader(lake, tmp_path / "cache")
    if used_before:
        assert reader.path(part).read_bytes() == b"good rows"
    tamper(lake, part, in_place=in_place)
    with pytest.raises(Corrupt, match=r"a#0.*its bytes changed.*--forget"):
        reader.path(part)
    with pytest.raises(Corrupt, match="its bytes changed"):
        fetch_part(lake, part, tmp_path / "another cache")


def test_the_second_use_reads_nothing(lake: Lake, part: Part, tmp_path: Path, machine: Path) -> None:
    """Also in another flow, with another cache."""
    with mock.patch.object(verified, "sha256_file", wraps=sha256_file) as hashed:
        for cache in ("one", "two", "two"):
            PartReader(lake, tmp_path / cache).path(part)
        assert hashed.call_count == 1
        os.utime(Path(lake.uri, part.path))
        PartReader(lake, tmp_path / "one").path(part)
        assert hashed.call_count == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in machine.rglob("*"))
    assert not [entry for entry in lake.list("") if "verified" in entry.path]


def test_a_copy_of_a_remote_part_that_changed_is_fetched_again(
    lake: Lake, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    local = fetch_part(lake, part, tmp_path / "cache")
    local.write_bytes(b"evil rows")
    assert fetch_part(lake, part, tmp_path / "cache").read_bytes() == b"good rows"


def test_what_a_killed_fetch_left_is_cleared(
    lake: Lake, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    cache = tmp_path / "cache"
    with (
        mock.patch.object(Path, "unlink"),
        mock.patch("os.replace", side_effect=[None, KeyboardInterrupt]),
        pytest.raises((KeyboardInterrupt, FileNotFoundError)),
    ):
        fetch_part(lake, part, cache)
    assert [path for path in cache.iterdir() if "unverified" in path.name]
    fetch_part(lake, part, cache)
    assert not [path for path in cache.iterdir() if "unverified" in path.name]


def test_verdicts_that_others_can_write_are_not_believed(tmp_path: Path, machine: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    folder = machine / "verified"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert has_sha256(file, sha256_bytes(b"x"), tmp_path / "cache")
    assert list(folder.iterdir()) == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["verified"]


def test_without_a_place_for_verdicts_each_use_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    (tmp_path / "blocked").write_bytes(b"")
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "blocked"))
    with mock.patch.object(verified, "sha256_file", wraps=sha256_file) as hashed:
        for _ in range(2):
            assert has_sha256(file, sha256_bytes(b"x"), tmp_path / "blocked")
    assert hashed.call_count == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")

    def read_then_change(path: Path) -> str:
        found = sha256_file(path)
        path.write_bytes(b"y")
        return found

    with mock.patch.object(verified, "sha256_file", read_then_change):
        has_sha256(file, sha256_bytes(b"x"), tmp_path)
    assert not has_sha256(file, sha256_bytes(b"x"), tmp_path)


def test_verdicts_take_bounded_space(tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "_FILE_BYTES", 65 * 4)
    monkeypatch.setattr(verified, "_verdict", lambda path, found, sha256: f"00{sha256[2:]}")
    for number in range(20):
        file = tmp_path / str(number)
        file.write_text(str(number))
        assert has_sha256(file, sha256_bytes(str(number).encode()), tmp_path)
    [kept] = (machine / "verified").iterdir()
    assert kept.stat().st_size <= 65 * 4
