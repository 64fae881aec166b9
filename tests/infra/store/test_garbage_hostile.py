"""Sweeps of a lake that is damaged, whose clock differs, or in which a build runs."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from unittest import mock

import pytest

from infra.store.clock import store_time
from infra.store.errors import Corrupt, StoreError
from infra.store.garbage import GRACE_SECONDS, plan_sweep, sweep
from infra.store.lake import Lake
from infra.store.lease import held_leases, lease
from infra.store.manifest import manifest_path, marker_path, read_marker
from infra.store.names import Reference, point
from tasks.roots import find_roots
from tests.infra.store.hostile import KEY, artifact, store

DAMAGE = [b"", b"{", b"[1]", b"\0" * 100]


def age(lake: Lake, hours: float = 30) -> None:
    """Make every object older."""
    for path in Path(lake.uri).rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - hours * 3600
            os.utime(path, (then, then))


@pytest.mark.parametrize("text", DAMAGE)
def test_a_damaged_marker_is_told_and_goes_when_it_is_old(lake: Lake, tmp_path: Path, text: bytes) -> None:
    artifact(lake, store(lake, tmp_path / "own", b"rows"))
    point(lake, "toy", Reference("toy", KEY, KEY))
    damaged = marker_path("toy", "b" * 64)
    lake.write(damaged, text)
    planned = plan_sweep(lake, find_roots)
    assert planned.entries == () and len(planned.damaged) == 1 and damaged in planned.damaged[0]
    age(lake)
    planned = plan_sweep(lake, find_roots)
    assert [entry.path for entry in planned.entries] == [damaged]
    sweep(lake, planned, find_roots)
    assert lake.size(damaged) is None and read_marker(lake, "toy", KEY) is not None


@pytest.mark.parametrize("text", DAMAGE)
def test_the_markers_of_a_damaged_manifest_in_use_stay(lake: Lake, tmp_path: Path, text: bytes) -> None:
    """The next build makes the manifest again from them, without the work."""
    artifact(lake, store(lake, tmp_path / "own", b"rows"))
    other = artifact(lake, store(lake, tmp_path / "own", b"others"), stage="other", key="c" * 64)
    point(lake, "toy", Reference("toy", KEY, KEY))
    lake.write(manifest_path("toy", KEY), text)
    lake.write(manifest_path("toy", "d" * 64), text)  # of no use
    age(lake)
    planned = plan_sweep(lake, find_roots)
    assert {entry.path for entry in planned.entries} == {
        manifest_path("toy", "d" * 64),
        other.path,
        other.parts[0].path,
        marker_path("other", other.key),
    }
    sweep(lake, planned, find_roots)
    assert read_marker(lake, "toy", KEY) is not None


@pytest.mark.parametrize("text", DAMAGE)
@pytest.mark.parametrize("path", ["names/toy.json", f"builds/{KEY}.json", f"runs/{KEY}/run.json"])
def test_a_damaged_root_ends_the_sweep(lake: Lake, path: str, text: bytes) -> None:
    """What it needs is unknown, and the cure is told."""
    point(lake, "toy", Reference("build", KEY, KEY))
    lake.write(path, text)
    with pytest.raises(Corrupt, match=rf"{path}.*[Dd]elete"):
        plan_sweep(lake, find_roots)


def test_a_damaged_build_that_nobody_names_goes(lake: Lake) -> None:
    lake.write(f"builds/{KEY}.json", b"")
    assert plan_sweep(lake, find_roots).entries == ()
    age(lake)
    assert [entry.path for entry in plan_sweep(lake, find_roots).entries] == [f"builds/{KEY}.json"]


@pytest.mark.parametrize("hours", [48, 1, -1, -48])
def test_a_sweep_whose_clock_differs_from_the_store_s_deletes_nothing(lake: Lake, tmp_path: Path, hours: float) -> None:
    store(lake, tmp_path / "own", b"rows")
    now = time.time() + hours * 3600
    with (
        mock.patch("time.time", return_value=now),
        pytest.raises(StoreError, match=f"differ by {abs(hours) * 60:.0f} minutes.*NTP"),
    ):
        sweep(lake, plan_sweep(lake, find_roots, 0), find_roots)
    assert len(list(lake.list("parts"))) == 1 and list(lake.list("clock")) == []


def test_the_time_is_that_of_the_store(lake: Lake) -> None:
    now = time.time()
    with mock.patch("time.time", return_value=now + 100):
        assert store_time(lake) == pytest.approx(now, abs=60)


def test_a_lake_that_cannot_be_written_has_the_time_of_this_machine(lake: Lake) -> None:
    with mock.patch("os.mkdir", side_effect=PermissionError(13, "Permission denied")):
        assert store_time(lake) == pytest.approx(time.time(), abs=60)


def test_what_a_killed_sweep_left_of_its_clock_goes(lake: Lake) -> None:
    lake.write("clock/x", b"")
    age(lake)
    assert [entry.path for entry in plan_sweep(lake, find_roots).entries] == ["clock/x"]


def test_a_short_grace_is_refused_while_a_build_runs(lake: Lake, tmp_path: Path) -> None:
    store(lake, tmp_path / "own", b"rows")
    assert held_leases(lake) == []
    with lease(lake, "toy-abc", lambda: None):
        assert held_leases(lake) == ["toy-abc"]
        with pytest.raises(StoreError, match="a build is making toy-abc"):
            plan_sweep(lake, find_roots, GRACE_SECONDS - 1)
        assert plan_sweep(lake, find_roots).entries == ()
    (Path(lake.uri) / "leases" / "left-by-a-killed-build").write_bytes(b"")
    assert held_leases(lake) == []
    assert len(plan_sweep(lake, find_roots, 0).entries) == 1


def test_asking_for_leases_takes_none(lake: Lake) -> None:
    """A build that waits for its lease is not stopped by a sweep that looks at it."""
    waiting = threading.Event()
    with lease(lake, "toy", waiting.set):
        for _ in range(3):
            held_leases(lake)
    with lease(lake, "toy", waiting.set):
        pass
    assert not waiting.is_set()
