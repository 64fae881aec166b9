"""The files of a local lake: the order of syncs, modes, and what killed writers leave."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from infra.store import local
from infra.store.errors import StoreError
from infra.store.lake import Lake
from tests.infra.store.hostile import KEY, artifact, store


@pytest.fixture
def umask() -> Iterator[None]:
    """The usual umask, which leaves all rights of reading to everybody."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def recorded(monkeypatch: pytest.MonkeyPatch, root: str) -> list[str]:
    """The syncs and renames of the lake at `root`, in order: what is synced, and what a file is renamed to."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def path_of(descriptor: int) -> str:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), root)

    def note_fsync(descriptor: int) -> None:
        path = path_of(descriptor)
        events.append(f"sync file in {os.path.dirname(path)}" if local.PARTIAL in path else f"sync folder {path}")
        fsync(descriptor)

    def note_replace(source: str, target: str, **folders: int) -> None:
        if "dst_dir_fd" in folders:
            events.append(f"rename to {os.path.normpath(os.path.join(path_of(folders['dst_dir_fd']), target))}")
        replace(source, target, **folders)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    return events


def test_a_manifest_never_outlives_its_parts(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object is synced before its name, and its folder, with new folders above, before the next object."""
    events = recorded(monkeypatch, lake.uri)
    part = store(lake, tmp_path / "own", b"rows")
    manifest = artifact(lake, part)
    in_parts, in_markers = f"parts/{part.sha256[:2]}", f"markers/toy/{KEY[:2]}"
    assert events == [
        "sync folder .",
        "sync folder parts",
        f"sync file in {in_parts}",
        f"rename to {part.path}",
        f"sync folder {in_parts}",
        "sync folder .",
        "sync folder markers",
        "sync folder markers/toy",
        f"sync file in {in_markers}",
        f"rename to {in_markers}/{KEY}.json",
        f"sync folder {in_markers}",
        "sync folder .",
        "sync folder artifacts",
        "sync file in artifacts/toy",
        f"rename to {manifest.path}",
        "sync folder artifacts/toy",
    ]


def test_a_folder_that_cannot_be_synced_fails_the_write(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a file system that syncs no folders at all is let through."""
    fsync = os.fsync

    def fail(descriptor: int, error: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, os.strerror(error))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", lambda descriptor: fail(descriptor, 22))  # EINVAL
    lake.write("a/b", b"1")
    monkeypatch.setattr(os, "fsync", lambda descriptor: fail(descriptor, 5))  # EIO
    with pytest.raises(Exception, match="Input/output error"):
        lake.write("a/c", b"1")


@pytest.mark.parametrize("there", ["file", "broken link"])
def test_a_lake_cannot_be_where_a_file_is(tmp_path: Path, there: str) -> None:
    place = tmp_path / "lake"
    if there == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "away")
    with pytest.raises(StoreError, match="cannot be made") as caught:
        Lake.open(str(place))
    assert type(caught.value) is StoreError


def test_other_users_read_nothing_of_a_new_lake(tmp_path: Path, umask: None) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    lake.write("markers/toy/x.json", b"{}")
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "lake": 0o750,
        "lake/format.json": 0o640,
        "lake/markers": 0o750,
        "lake/markers/toy": 0o750,
        "lake/markers/toy/x.json": 0o640,
    }


KILLED = """
import os, signal, sys
from infra.store import local
with local.replacement(sys.argv[1], "parts/aa/x") as stream:
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def partials(lake: Lake) -> list[str]:
    return [entry.path for entry in lake.unfinished()]


def test_the_next_writer_clears_what_a_killed_one_left(lake: Lake) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", KILLED, lake.uri], cwd=root, check=False)
    assert done.returncode == -9
    [left] = partials(lake)
    assert left.startswith("parts/aa/.partial-")
    lake.write("parts/bb/y", b"1")
    assert partials(lake) == [left], "of another folder: nobody lists a whole lake for one write"
    lake.write("parts/aa/y", b"1")
    assert partials(lake) == [] and lake.read("parts/aa/y") == b"1" and lake.size("parts/aa/x") is None


def test_the_partial_file_of_a_living_writer_stays(lake: Lake) -> None:
    with local.replacement(lake.uri, "parts/aa/x") as stream:
        local._cleared.clear()  # as in another process
        lake.write("parts/aa/y", b"1")
        stream.write(b"whole")
    assert lake.read("parts/aa/x") == b"whole" and partials(lake) == []


def test_a_partial_file_of_another_machine_stays(lake: Lake) -> None:
    with mock.patch("socket.gethostname", return_value="elsewhere"), pytest.raises(KeyboardInterrupt):
        with mock.patch("os.unlink"), local.replacement(lake.uri, "parts/aa/x"):
            raise KeyboardInterrupt
    [left] = partials(lake)
    local._cleared.clear()
    lake.write("parts/aa/y", b"1")
    assert partials(lake) == [left], "its lock may not reach this machine; a sweep deletes it when it is old"


def test_a_writer_whose_file_was_taken_for_abandoned_begins_anew(lake: Lake) -> None:
    """Another writer may see a new partial file before it is locked."""
    flock, taken = fcntl.flock, []

    def take(descriptor: int, how: int) -> None:
        if not taken:
            taken.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.unlink(taken[0])
        flock(descriptor, how)

    with mock.patch("fcntl.flock", take):
        lake.write("a/b", b"1")
    assert lake.read("a/b") == b"1" and len(taken) == 1


def test_a_file_system_without_locks_is_no_obstacle(lake: Lake) -> None:
    with mock.patch("fcntl.flock", side_effect=OSError(37, "No locks available")):
        lake.write("a/b", b"1")
    assert lake.read("a/b") == b"1" and partials(lake) == []
