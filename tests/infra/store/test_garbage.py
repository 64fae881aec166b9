"""Sweeps: what is kept and for how long, beside a build that runs, after a run, and when a folder cannot be read."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from infra.store import local
from infra.store.digests import sha256_bytes
from infra.store.errors import StoreDenied, StoreError
from infra.store.garbage import GRACE_SECONDS, plan_sweep, sweep
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import (
    Manifest,
    Marker,
    Part,
    manifest_path,
    marker_path,
    read_manifest,
    read_marker,
    store_part,
    write_manifest,
    write_marker,
)
from infra.store.names import Reference, point
from tasks.builds import BuildRecord, write_build
from tasks.evaluation.inputs import tokens_of_run
from tasks.roots import find_roots
from tests.infra.store.hostile import manifest_of

HOUR = 3600.0
Store = Callable[..., Part]


@pytest.fixture
def store(lake: Lake, tmp_path: Path) -> Store:
    """Stores a part with that content."""

    def stored(content: str, name: str = "part", suffix: str = ".parquet") -> Part:
        local = tmp_path / "local"
        local.write_text(content)
        return store_part(lake, local, name=name, rows=1, content=sha256_bytes(content.encode()), suffix=suffix)

    return stored


def test_a_part_that_is_used_again_is_kept(lake: Lake, store: Store) -> None:
    store("rows")
    _age(lake, 30)
    write_marker(lake, "toy", _marker("a", store("rows")))
    assert _swept(lake) == []
    assert read_marker(lake, "toy", "a" * 64) is not None


def test_parts_of_a_young_marker_and_of_a_young_artifact_are_kept(lake: Lake, store: Store) -> None:
    marked, listed, evidence, lost = (store(name) for name in ("marked", "listed", "evidence", "lost"))
    write_marker(lake, "toy", _marker("a", marked))
    write_manifest(lake, _manifest("toy", "b", listed, evidence={"reduce": [asdict(evidence)]}))
    for part in (marked, listed, evidence, lost):
        _age_one(lake, part.path, 30)
    assert _swept(lake) == [lost.path]


def test_what_a_young_build_is_made_of_is_kept_and_an_old_one_goes(lake: Lake, store: Store) -> None:
    for key in "ab":
        write_manifest(lake, _manifest("toy", key, store(key)))
        _write_build(lake, key, {"toy": ("toy", key * 64)})
    _age(lake, 30)
    _age_one(lake, f"builds/{'a' * 64}.json", 1)
    assert sorted(_swept(lake)) == sorted([f"builds/{'b' * 64}.json", manifest_path("toy", "b" * 64), store("b").path])


def test_a_build_refreshes_the_old_markers_and_artifacts_that_it_uses(lake: Lake, store: Store) -> None:
    used, unused, young = _marker("a", store("a")), _marker("b", store("b")), _marker("c", store("c"))
    for marker in (used, unused, young):
        write_marker(lake, "toy", marker)
    kept, looked_at = _manifest("toy", "d", store("d")), _manifest("toy", "e", store("e"))
    write_manifest(lake, kept)
    write_manifest(lake, looked_at)
    _age(lake, 30)
    _age_one(lake, marker_path("toy", young.key), 11)
    before = {path: lake.read(path) for path in (marker_path("toy", used.key), kept.path)}
    assert read_marker(lake, "toy", used.key) == used
    assert read_manifest(lake, "toy", kept.key, keep=True) == kept
    assert read_manifest(lake, "toy", looked_at.key) == looked_at
    with mock.patch.object(local, "replacement", side_effect=AssertionError("young enough")):
        assert read_marker(lake, "toy", young.key) == young
    assert {path: lake.read(path) for path in before} == before
    gone = {marker_path("toy", unused.key), unused.parts[0].path, looked_at.path, looked_at.parts[0].path}
    assert set(_swept(lake)) == gone


@pytest.mark.parametrize("use", ["marker", "manifest", "part"])
def test_what_is_used_between_plan_and_sweep_stays(lake: Lake, store: Store, use: str) -> None:
    marker, manifest = _marker("a", store("rows")), _manifest("toy", "b", store("rows"))
    write_marker(lake, "toy", marker)
    write_manifest(lake, manifest)
    _age(lake, 30)
    planned = plan_sweep(lake, find_roots)
    assert len(planned.entries) == 3
    if use == "marker":
        assert read_marker(lake, "toy", marker.key) == marker
    elif use == "manifest":
        assert read_manifest(lake, "toy", manifest.key, keep=True) == manifest
    else:
        store("rows")
    sweep(lake, planned, find_roots)
    assert lake.size(marker.parts[0].path) == 4
    assert (lake.size(marker_path("toy", marker.key)) is not None) == (use == "marker")
    assert (lake.size(manifest.path) is not None) == (use == "manifest")


def test_what_a_marker_written_between_plan_and_sweep_points_at_stays(lake: Lake, store: Store) -> None:
    part = store("rows")
    _age(lake, 30)
    planned = plan_sweep(lake, find_roots)
    write_marker(lake, "toy", _marker("a", part))
    sweep(lake, planned, find_roots)
    assert read_marker(lake, "toy", "a" * 64) is not None


def test_a_run_keeps_the_whole_tokens_artifact_that_it_is_evaluated_with(lake: Lake, store: Store) -> None:
    def tokens(key: str) -> Manifest:
        names = ("crawl.bin", "crawl.idx", "crawl.held-out.bin", "tokenizer.json", "crawl.lineage.parquet")
        return _manifest("tokens", key, *(store(f"{key} {name}", name, Path(name).suffix) for name in names))

    trained_on, other = tokens("a"), tokens("b")
    for manifest in (trained_on, other):
        write_manifest(lake, manifest)
        write_marker(lake, "tokens", _marker(manifest.key[0], *manifest.parts))
    source = {"bin": asdict(trained_on.parts[0]), "idx": asdict(trained_on.parts[1])}
    _write_run(lake, {"name": "crawl", "weight": 1.0, "epochs": 1, **source})
    _age(lake, 30)
    gone = {other.path, marker_path("tokens", other.key), *(part.path for part in other.parts)}
    assert set(_swept(lake)) == gone
    assert tokens_of_run(lake, "r") == trained_on
    assert read_marker(lake, "tokens", trained_on.key) is not None


def test_markers_stay_with_what_they_point_at(lake: Lake, store: Store) -> None:
    kept, mapped, stale = store("kept"), store("mapped"), store("stale")
    whole, empty = _marker("a", kept), _marker("b")
    listed, half = _marker("c", mapped), _marker("d", kept, stale)
    for marker in (whole, empty, listed, half):
        write_marker(lake, "toy", marker)
    write_manifest(lake, _manifest("toy", "e", kept, markers=[listed.key]))
    point(lake, "corpus/toy", Reference("toy", "e" * 64, "d" * 64))
    _age(lake, 30)
    assert set(_swept(lake)) == {marker_path("toy", half.key), stale.path}
    assert all(read_marker(lake, "toy", marker.key) == marker for marker in (whole, empty, listed))


def test_a_name_keeps_its_build_or_its_artifact(lake: Lake, store: Store) -> None:
    made = {key: _manifest("toy", key, store(key)) for key in "abc"}
    for manifest in made.values():
        write_manifest(lake, manifest)
    _write_build(lake, "c", {"source/x": ("toy", "a" * 64), "gone": ("toy", "f" * 64)})
    point(lake, "corpus/crawl", Reference("build", "c" * 64, "d" * 64))
    point(lake, "tokenizers/small", Reference("toy", "b" * 64, "d" * 64))
    point(lake, "corpus/lost", Reference("build", "e" * 64, "d" * 64))
    _age(lake, 30)
    assert set(_swept(lake)) == {made["c"].path, made["c"].parts[0].path}


@pytest.mark.parametrize("unreadable", ["names", "names/corpus", "markers/toy", "runs/r", "artifacts", "builds"])
def test_a_folder_that_cannot_be_listed_ends_the_sweep(lake: Lake, store: Store, unreadable: str) -> None:
    write_marker(lake, "toy", _marker("a", store("a")))
    write_manifest(lake, _manifest("toy", "b", store("b")))
    _write_build(lake, "c", {"toy": ("toy", "b" * 64)})
    _write_run(lake)
    point(lake, "corpus/crawl", Reference("build", "c" * 64, "d" * 64))
    _age(lake, 30)
    scandir = os.scandir

    def refuse(folder: int) -> Any:
        if os.readlink(f"/proc/self/fd/{folder}").endswith(f"/{unreadable}"):
            raise PermissionError(13, "Permission denied", unreadable)
        return scandir(folder)

    # Not by mode bits: root may read everything.
    with mock.patch("os.scandir", refuse), pytest.raises(StoreDenied, match="Check the credentials"):
        plan_sweep(lake, find_roots)


def test_a_folder_whose_disk_is_away_is_not_taken_for_empty(lake: Lake) -> None:
    lake.write("markers/toy/x", b"1")
    (Path(lake.uri) / "markers" / "other").symlink_to(Path(lake.uri) / "unmounted")
    with pytest.raises(StoreError, match=r"markers/other is a link.*move the whole lake"):
        list(lake.list("markers"))


def test_what_killed_writes_left_goes_when_it_is_old(lake: Lake) -> None:
    left = [Path(lake.uri) / folder / ".partial-0" for folder in ("parts/aa", "markers/toy/bb", "runs/r/checkpoints")]
    for path in (*left, Path(lake.uri) / "parts" / "aa" / ".partial-1"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    _age(lake, 30)
    os.utime(Path(lake.uri) / "parts" / "aa" / ".partial-1")
    planned = plan_sweep(lake, find_roots)
    assert (len(planned.entries), planned.bytes, planned.kept_objects) == (3, 12, 0)
    sweep(lake, planned, find_roots)
    assert [path.exists() for path in left] == [False] * 3
    assert [entry.path for entry in lake.unfinished()] == ["parts/aa/.partial-1"]
    assert list(lake.list("parts")) == []


def test_without_grace_all_that_nothing_needs_goes(lake: Lake, store: Store) -> None:
    write_marker(lake, "toy", _marker("a", store("a")))
    _age(lake, 0.01)
    assert plan_sweep(lake, find_roots).entries == ()
    sweep(lake, plan_sweep(lake, find_roots, 0), find_roots)
    assert [entry.path for entry in lake.list("")] == ["format.json"]


def test_the_grace_is_a_day() -> None:
    assert GRACE_SECONDS == 24 * HOUR


def _swept(lake: Lake) -> list[str]:
    planned = plan_sweep(lake, find_roots)
    sweep(lake, planned, find_roots)
    assert plan_sweep(lake, find_roots).entries == ()
    return [entry.path for entry in planned.entries]


def _age(lake: Lake, hours: float) -> None:
    for path in Path(lake.uri).rglob("*"):
        if stat.S_ISREG(path.stat().st_mode):
            _age_one(lake, str(path.relative_to(lake.uri)), hours)


def _age_one(lake: Lake, path: str, hours: float) -> None:
    then = time.time() - hours * HOUR
    os.utime(Path(lake.uri) / path, (then, then))


def _write_build(lake: Lake, letter: str, artifacts: dict[str, tuple[str, str]]) -> None:
    record = BuildRecord(
        key=letter * 64,
        digest="d" * 64,
        recipe={"sources": {}},
        artifacts=artifacts,
        digests={},
        ledger=[],
        source_ledgers={},
        documents=0,
        tokens=0,
        created="2026-01-01T00:00:00+00:00",
    )
    write_build(lake, record)


def _write_run(lake: Lake, *sources: dict[str, Any]) -> None:
    run = {"format": 3, "model": {"architecture": "toy"}, "training": {"steps": 1}, "seed": 1, "sources": sources}
    lake.write_json("runs/r/run.json", run)


def _marker(letter: str, *parts: Part) -> Marker:
    return Marker(letter * 64, parts, Account(rows_in=1, kept=1), 0.5)


def _manifest(stage: str, letter: str, *parts: Part, **details: Any) -> Manifest:
    return manifest_of(*parts, key=letter * 64, stage=stage, **details)
