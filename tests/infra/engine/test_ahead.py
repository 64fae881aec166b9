"""Parts of remote lakes are copied ahead of their use, as far as the disk and the bound allow."""

from __future__ import annotations

import os
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from infra.engine import ahead as ahead_module
from infra.engine.ahead import parts_of, reading_ahead
from infra.engine.plans import ConfiguredStage
from infra.engine.pool import LocalPool, _Task
from infra.engine.units import PassUnit, Shard
from infra.store import room
from infra.store.digests import sha256_bytes
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Marker, Part, fetch_part, write_marker
from tests.infra.engine import toy

Disk = namedtuple("Disk", "total used free")


class RemoteLake(Lake):
    """A local lake that looks like a remote one."""

    def local_path(self, path: str) -> Path | None:
        return None


@pytest.fixture
def remote(lake: Lake) -> RemoteLake:
    return RemoteLake(lake.uri)


def put(lake: Lake, *texts: bytes) -> list[Part]:
    parts = []
    for text in texts:
        digest = sha256_bytes(text)
        part = Part(digest, len(text), 1, digest, f"part {text.decode()[:9]}", ".parquet")
        lake.write(part.path, text)
        parts.append(part)
    return parts


def copies(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.suffix == ".parquet"}


def names(parts: list[Part]) -> set[str]:
    return {f"{part.sha256}.parquet" for part in parts}


def unit(lake: Lake, part: Part) -> PassUnit:
    call = ConfiguredStage(toy.measure_length, toy.ToyConfig()).keyed(shard=part.content)
    return PassUnit(lake, (call,), Shard(part), ())


def wait_for(cache: Path, parts: list[Part]) -> None:
    while not names(parts) <= copies(cache):
        threading.Event().wait(0.005)


def test_own_parts_and_those_of_the_next_unit_are_copied(remote: RemoteLake, tmp_path: Path) -> None:
    parts = put(remote, b"one", b"two", b"three")
    cache = tmp_path / "cache"
    cache.mkdir()
    with reading_ahead(remote, cache, parts[:2], unit(remote, parts[2])):
        wait_for(cache, parts)
    assert copies(cache) == names(parts)


def test_nothing_is_copied_of_a_local_lake_and_of_what_has_its_marker(
    lake: Lake, remote: RemoteLake, tmp_path: Path
) -> None:
    parts = put(remote, b"one", b"two")
    cache = tmp_path / "cache"
    cache.mkdir()
    before = threading.active_count()
    with reading_ahead(lake, cache, parts):
        assert threading.active_count() == before
    done = unit(remote, parts[1])
    write_marker(remote, "toy_length", Marker(done.calls[0].key, (), Account(), 0.0))
    with reading_ahead(remote, cache, parts[:1], done) as ahead:
        wait_for(cache, parts[:1])
        ahead.copy()  # once more, to its end, in this thread
    assert copies(cache) == names(parts[:1])


def test_a_bounded_number_of_bytes_is_ahead_of_the_reader(
    remote: RemoteLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_module, "MOST_BYTES_AHEAD", 200)
    parts = put(remote, *(bytes([65 + number]) * 100 for number in range(5)))
    cache = tmp_path / "cache"
    cache.mkdir()
    with reading_ahead(remote, cache, parts) as ahead:
        wait_for(cache, parts[:2])
        assert not copies(cache) & names(parts[2:])
        for number, part in enumerate(parts):
            ahead.used(part)
            wait_for(cache, parts[1 : number + 3])
            assert not copies(cache) & names(parts[number + 3 :])


def test_a_full_disk_ends_it(remote: RemoteLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = put(remote, b"one")
    monkeypatch.setattr(ahead_module.shutil, "disk_usage", lambda cache: Disk(1000, 899, 101))
    with reading_ahead(remote, tmp_path, parts) as ahead:
        ahead.copy()
    assert not copies(tmp_path)


def test_what_goes_wrong_is_left_to_the_reader(remote: RemoteLake, tmp_path: Path) -> None:
    [part] = put(remote, b"one")
    remote.delete(part.path)
    with reading_ahead(remote, tmp_path, [part]) as ahead:
        ahead.copy()
    assert not copies(tmp_path)


def test_the_worker_of_one_unit_copies_the_parts_of_the_next(
    remote: RemoteLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waiting unit is fetched by one worker only, and not where the lake is local."""
    [part] = put(remote, b"one")
    units = [unit(remote, part) for _ in range(3)]
    pool = LocalPool(1)
    tasks = [task(one) for one in units]
    pool._queue.extend(tasks[1:])
    assert [pool._then(tasks[0]) for _ in range(3)] == [units[1], units[2], None]
    local = task(unit(Lake(remote.uri), part))
    pool._queue.append(local)
    assert pool._then(local) is None


def task(one: PassUnit) -> _Task:
    return _Task(one, 1)


def test_parts_of_a_unit_are_found_in_order(lake: Lake) -> None:
    a, b, c = put(lake, b"a", b"b", b"c")
    call = ConfiguredStage(toy.measure_length, toy.ToyConfig()).keyed(shard="x")
    assert [*parts_of(PassUnit(lake, (call,), Shard(a, (b,), (("x", c),)), ()))] == [a, b, c]


def test_copies_that_were_not_used_make_room(
    remote: RemoteLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = put(remote, b"1" * 100, b"2" * 100, b"3" * 100, b"4" * 100)
    cache = tmp_path / "cache"
    now = [1_000_000.0]
    monkeypatch.setattr(room.time, "time", lambda: now[0])
    monkeypatch.setattr(room.shutil, "disk_usage", lambda cache: Disk(1000, 600, 400 - 100 * len(copies(cache))))
    for number, part in enumerate(parts[:3]):
        fetch_part(remote, part, cache, make_room=True)
        lock = cache / room.lock_of(sha256_bytes(part.sha256.encode()))
        os.utime(lock, (number, 1_000 + number))
    assert copies(cache) == names(parts[:3])
    fetch_part(remote, parts[3], cache, make_room=True)
    assert copies(cache) == names([parts[1], parts[2], parts[3]]), "the one that was not used for the longest time went"
    now[0] = 1_100.0  # all were used in the last minutes
    [more] = put(remote, b"5" * 50)
    fetch_part(remote, more, cache, make_room=True)
    assert copies(cache) == names([*parts[1:], more])
