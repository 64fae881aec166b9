"""A lake that others can write: nothing outside it is read, written, truncated or deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from infra.audit import forget_artifact, verify_artifact
from infra.store.errors import Corrupt, StoreError
from infra.store.garbage import plan_sweep, sweep
from infra.store.lake import Lake
from infra.store.lease import lease
from infra.store.manifest import Part, fetch_part, manifest_at, read_manifest, read_marker
from tests.infra.store.hostile import KEY, artifact, change, evil_part, store, tree

OUT = "./../../../../../.."


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder with files that are none of the lake's business."""
    folder = tmp_path / "victim"
    (folder / "sub").mkdir(parents=True)
    for name in ("precious.txt", "uv.lock", "package.json", "sub/y.txt"):
        (folder / name).write_text("precious")
    then = time.time() - 1e6
    for path in folder.rglob("*"):
        os.utime(path, (then, then))
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": f"{OUT}victim/precious", "suffix": ".txt"},
        {"sha256": f"{OUT}victim/uv", "suffix": ""},
        {"suffix": "/../../../../victim/precious.txt"},
        {"suffix": ".bin\n"},
        {"suffix": "." + "a" * 5000},
        {"sha256": "b" * 64 + "\n"},
        {"sha256": "/" + "b" * 63},
    ],
)
def test_a_part_outside_the_lake_is_no_part(lake: Lake, tmp_path: Path, victim: Path, changes: dict[str, Any]) -> None:
    before = tree(victim)
    manifest = artifact(lake, store(lake, tmp_path / "own", b"rows"))
    for path in (manifest.path, f"markers/toy/{KEY[:2]}/{KEY}.json"):
        change(lake, path, lambda value: value["parts"].append(evil_part(**changes)))
    with pytest.raises(Corrupt, match=r"artifacts/toy/aaaa.*parts\[1\]"):
        manifest_at(lake, manifest.path)
    assert read_manifest(lake, "toy", KEY, keep=True) is None
    assert read_marker(lake, "toy", KEY) is None
    with pytest.raises(ValueError, match="cannot name a part"):
        Part(**evil_part(**changes))
    assert tree(victim) == before


@pytest.mark.parametrize(
    "where", [{"stage": "../../.."}, {"stage": "..", "key": KEY}, {"key": "package"}, {"key": "b" * 64}]
)
def test_a_manifest_is_where_it_says(lake: Lake, tmp_path: Path, victim: Path, where: dict[str, str]) -> None:
    manifest = artifact(lake, store(lake, tmp_path / "own", b"rows"))
    change(lake, manifest.path, lambda value: value.update(where))
    with pytest.raises(Corrupt, match="artifacts/toy/aaaa"):
        manifest_at(lake, manifest.path)
    assert (victim / "package.json").read_text() == "precious"


def test_forgetting_deletes_within_the_lake_alone(lake: Lake, tmp_path: Path, victim: Path) -> None:
    good = artifact(lake, store(lake, tmp_path / "own", b"rows"))
    evil = artifact(lake, store(lake, tmp_path / "own", b"other"), key="c" * 64)
    change(
        lake, evil.path, lambda value: value["parts"].append(evil_part(sha256=f"{OUT}victim/precious", suffix=".txt"))
    )
    before = tree(victim)
    lake.write(good.parts[0].path, b"roWs")
    faults = verify_artifact(lake, good, tmp_path / "cache", lambda *_: None)
    damaged = forget_artifact(lake, good, faults)
    assert len(damaged) == 1 and evil.path in damaged[0]
    assert tree(victim) == before
    assert {entry.path for entry in lake.list("artifacts")} == set()


@pytest.mark.parametrize(
    "path",
    [
        "../victim/precious.txt", "a/../../victim/precious.txt", "/etc/hostname", "", "a//b", "./a", "a/.", "..",
        "a\0b", "a\\b", "a\nb", "a/", "/",
    ],
)  # fmt: skip
def test_no_path_leads_out(lake: Lake, tmp_path: Path, victim: Path, path: str) -> None:
    before = tree(victim)
    (tmp_path / "local").write_bytes(b"evil")
    for act in (
        lambda: lake.read(path),
        lambda: lake.write(path, b"evil"),
        lambda: lake.upload(tmp_path / "local", path),
        lambda: lake.download(path, tmp_path / "copy"),
        lambda: lake.entry(path),
        lambda: lake.delete(path),
        lambda: list(lake.list(path)) if path else lake.read(path),
        lambda: lake.local_path(path) if path else lake.read(path),
        lambda: Lake("s3://bucket/lake")._full(path) if path else lake.read(path),
    ):
        with pytest.raises(StoreError, match="is not the path of an object of a lake"):
            act()
    assert tree(victim) == before


def test_no_link_below_the_lake_is_followed(lake: Lake, tmp_path: Path, victim: Path) -> None:
    before = tree(victim)
    root = Path(lake.uri)
    (root / "parts").mkdir()
    (root / "builds").symlink_to(victim)
    (root / "parts" / "zz").symlink_to(victim / "sub")
    (root / "file").symlink_to(victim / "precious.txt")
    (root / "leases").symlink_to(victim)
    for act in (
        lambda: lake.read("file"),
        lambda: lake.read("builds/precious.txt"),
        lambda: lake.write("builds/x.json", b"evil"),
        lambda: lake.upload(victim / "precious.txt", "parts/zz/y.txt"),
        lambda: lake.download("builds/precious.txt", tmp_path / "copy"),
        lambda: lake.entry("file"),
        lambda: lake.entry("builds/precious.txt"),
        lambda: lake.delete("parts/zz/y.txt"),
        lambda: lake.local_path("parts/zz/y.txt"),
        lambda: lake.local_path("file"),
        lambda: list(lake.list("parts")),
        lambda: list(lake.list("builds")),
        lambda: list(lake.unfinished()),
        lambda: plan_sweep(lake),
        lambda: lease(lake, "toy", lambda: None).__enter__(),
    ):
        with pytest.raises(StoreError, match=r"is a link.*Delete it"):
            act()
    lake.delete("file")  # the link itself
    assert tree(victim) == before and not (root / "file").is_symlink()


def test_a_sweep_deletes_nothing_behind_a_link(lake: Lake, victim: Path) -> None:
    before = tree(victim)
    (Path(lake.uri) / "parts").mkdir()
    (Path(lake.uri) / "parts" / "zz").symlink_to(victim)
    with pytest.raises(StoreError, match="parts/zz is a link"):
        sweep(lake, plan_sweep(lake, grace_seconds=0))
    assert tree(victim) == before


def test_a_write_replaces_a_link_and_not_what_it_points_to(lake: Lake, victim: Path) -> None:
    (Path(lake.uri) / "progress.json").symlink_to(victim / "precious.txt")
    lake.write("progress.json", b"1")
    assert (victim / "precious.txt").read_text() == "precious"
    assert lake.read("progress.json") == b"1"


def test_the_folder_of_a_lake_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "lake").symlink_to(tmp_path / "disk")
    lake = Lake.open(str(tmp_path / "lake"))
    lake.write("a/b", b"1")
    assert (tmp_path / "disk" / "a" / "b").read_bytes() == b"1"
    assert [entry.path for entry in lake.list("a")] == ["a/b"]


def test_a_pipe_in_a_lake_hangs_nobody(lake: Lake) -> None:
    os.mkfifo(Path(lake.uri) / "pipe")
    for act in (lambda: lake.read("pipe"), lambda: lake.local_path("pipe"), lambda: list(lake.list(""))):
        with pytest.raises(StoreError, match="pipe is neither a file nor a folder"):
            act()


def test_a_tree_without_end_is_refused(lake: Lake) -> None:
    os.makedirs(Path(lake.uri, "parts", *(["x"] * 60)))
    with pytest.raises(StoreError, match="nests no folders as deep"):
        list(lake.list("parts"))


def test_a_lock_truncates_nothing(lake: Lake, tmp_path: Path, victim: Path) -> None:
    """The lock's name comes from a digest of our own, and the lock is opened without following links."""
    part = store(lake, tmp_path / "own", b"rows")
    cache = tmp_path / "cache"
    fetch_part(lake, part, cache)
    [lock] = [path for path in cache.iterdir() if path.suffix == ".lock"]
    assert part.sha256 not in lock.name and lock.stat().st_mode & 0o077 == 0
    lock.unlink()
    lock.symlink_to(victim / "uv.lock")
    with pytest.raises(OSError, match="symbolic links"):
        fetch_part(lake, part, cache)
    assert (victim / "uv.lock").read_text() == "precious"


def test_an_enormous_object_is_not_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.store.lake.READ_LIMIT", 100)
    lake.write("names/x.json", b" " * 101)
    with pytest.raises(Corrupt, match="more than 100 bytes"):
        lake.read("names/x.json")
