"""Parts, markers and manifests on bad days: a lost part, a changed byte, an unknown field."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from infra.store import manifest, verified
from infra.store.digests import sha256_file
from infra.store.errors import Corrupt, NotThere, StoreFull
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Marker, Part, fetch_part, manifest_from_json, read_marker, store_part, write_marker


@pytest.fixture
def part(lake: Lake, tmp_path: Path) -> Part:
    local = tmp_path / "rows.parquet"
    local.write_bytes(b"rows")
    return store_part(lake, local, name="a#0", rows=1, content="c" * 64, suffix=".parquet")


def test_a_part_lies_under_its_own_sha256(lake: Lake, part: Part) -> None:
    assert part.path == f"parts/{part.sha256[:2]}/{part.sha256}.parquet"
    assert lake.read(part.path) == b"rows"


def test_a_truncated_part_is_written_again(lake: Lake, part: Part, tmp_path: Path) -> None:
    lake.write(part.path, b"ro")
    assert store_part(lake, tmp_path / "rows.parquet", name="a#0", rows=1, content="c" * 64, suffix=".parquet") == part
    assert lake.read(part.path) == b"rows"


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the lake's files lie on this machine, or are said not to."""
    if request.param == "remote":
        monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    return str(request.param)


def copies(cache: Path) -> list[str]:
    """What lies in the cache, without locks."""
    return [path.name for path in cache.iterdir() if path.suffix != ".lock"]


def test_a_changed_byte_is_found_where_it_is_read(lake: Lake, part: Part, tmp_path: Path, place: str) -> None:
    lake.write(part.path, b"rowz")
    with pytest.raises(Corrupt, match=r"a#0.*its bytes changed.*`millrace verify ARTIFACT --forget`.*build again"):
        fetch_part(lake, part, tmp_path / "cache")
    assert copies(tmp_path / "cache") == []


def test_a_lost_part_is_not_there(lake: Lake, part: Part, tmp_path: Path, place: str) -> None:
    lake.delete(part.path)
    with pytest.raises(NotThere, match=r"a#0.*does not exist.*`millrace verify ARTIFACT --forget`.*build again"):
        fetch_part(lake, part, tmp_path / "cache")
    assert copies(tmp_path / "cache") == []


def test_a_local_part_is_used_where_it_lies(lake: Lake, part: Part, tmp_path: Path) -> None:
    """Verified once for a cache, and again when it was written again."""
    with mock.patch.object(verified, "sha256_file", wraps=sha256_file) as hashed:
        for _ in range(3):
            assert fetch_part(lake, part, tmp_path / "cache") == lake.local_path(part.path)
        assert hashed.call_count == 1
    lake.write(part.path, b"rowz")
    with pytest.raises(Corrupt):
        fetch_part(lake, part, tmp_path / "cache")


def test_a_part_is_fetched_once_for_all(lake: Lake, part: Part, tmp_path: Path, place: str) -> None:
    """Four readers at the same moment: one verifies while the others wait, and nobody copies a local part."""
    together = threading.Barrier(4)
    found: list[Path] = []

    def read() -> None:
        together.wait()
        found.append(fetch_part(lake, part, tmp_path / "cache"))

    readers = [threading.Thread(target=read) for _ in range(4)]
    with (
        mock.patch.object(verified, "sha256_file", wraps=sha256_file) as in_place,
        mock.patch.object(manifest, "sha256_file", wraps=sha256_file) as copied,
    ):
        for one in readers:
            one.start()
        for one in readers:
            one.join()
    assert in_place.call_count + copied.call_count == 1 and len(set(found)) == 1 and found[0].read_bytes() == b"rows"
    copied = [path for path in (tmp_path / "cache").iterdir() if path.stat().st_size and path.suffix == ".parquet"]
    assert copied == ([] if place == "local" else [found[0]])


def test_a_copy_that_will_not_fit_is_not_begun(
    lake: Lake, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3))
    with pytest.raises(StoreFull, match=r"has 3 bytes free, and a#0 from .* takes 4: free some"):
        fetch_part(lake, part, tmp_path / "cache")


def test_others_see_no_copy_that_is_not_verified(
    lake: Lake, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    lake.write(part.path, b"rowz")
    cache = tmp_path / "cache"
    seen: list[bool] = []

    def look(path: Path) -> str:
        seen.append((cache / f"{part.sha256}{part.suffix}").exists())
        return sha256_file(path)

    with mock.patch.object(manifest, "sha256_file", look), pytest.raises(Corrupt):
        fetch_part(lake, part, cache)
    assert seen == [False]


def test_a_marker_counts_only_while_its_parts_are_there(lake: Lake, part: Part) -> None:
    marker = Marker("a" * 64, (part,), Account(rows_in=1, kept=1), 0.5, {"0": "b" * 64})
    assert read_marker(lake, "toy", marker.key) is None
    write_marker(lake, "toy", marker)
    assert read_marker(lake, "toy", marker.key) == marker
    lake.delete(part.path)
    assert read_marker(lake, "toy", marker.key) is None


def test_a_manifest_of_another_version_is_refused(lake: Lake) -> None:
    with pytest.raises(Corrupt, match="another version"):
        manifest_from_json({"parts": [], "account": {}, "surprise": 1}, lake, "artifacts/toy/x.json")
