"""Presence: which requests a cached build makes, and what happens where a part is gone."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from infra.engine.graph import BuildTask, Made
from infra.engine.plans import ConfiguredStage, Plan, SelectPlan
from infra.engine.pool import LocalPool
from infra.engine.scheduling import WorkFailed
from infra.engine.views import Annotation, View
from infra.orchestration import StageRunner
from infra.store.errors import StoreError
from infra.store.inputs import take_inventory
from infra.store.lake import Entry, Lake
from infra.store.manifest import Manifest, read_marker
from tests.infra.engine import toy
from tests.infra.engine.test_plans import quiet, write_inputs
from tests.infra.test_orchestration import annotating, in_flow, reading

CONFIG = toy.ToyConfig()
pytestmark = pytest.mark.usefixtures("prefect_server")
_requests: Counter[str] = Counter()


@dataclass(frozen=True)
class CountingLake(Lake):
    """A lake that counts its requests by kind and by the first folder of the path."""

    def read(self, path: str) -> bytes:
        _requests[f"read {path.partition('/')[0]}"] += 1
        return super().read(path)

    def entry(self, path: str) -> Entry | None:
        _requests[f"look at {path.partition('/')[0]}"] += 1
        return super().entry(path)


def keeping() -> BuildTask:
    """The task that selects documents: a corpus, which is read outside the build."""

    def plan(lake: Lake, made: Made) -> Plan:
        view = View("toy", made["toy/documents"], annotations=(("toy_length", Annotation(made["toy/length"])),))
        return SelectPlan(ConfiguredStage(toy.keep_long, CONFIG), view)

    return BuildTask("toy/corpus", ("toy/corpus",), ("toy/documents", "toy/length"), plan, used=True)


def build(lake: Lake, pool: LocalPool, tasks: list[BuildTask]) -> dict[str, Manifest]:
    made: dict[str, Manifest] = {}
    in_flow(lambda: made.update(StageRunner(lake, pool, quiet).run(tasks)))
    return made


@pytest.fixture
def tasks(lake: Lake, tmp_path: Path) -> list[BuildTask]:
    files = take_inventory(lake, write_inputs(tmp_path / "in", 6)).files
    return [reading(files), annotating(toy.measure_length, "toy/length"), keeping()]


def written(lake: Lake) -> dict[str, int]:
    """When each object was written."""
    return {entry.path: Path(lake.uri, entry.path).stat().st_mtime_ns for entry in lake.list("")}


def test_a_cached_build_asks_for_a_bounded_number_of_objects(
    lake: Lake, pool: LocalPool, tmp_path: Path, tasks: list[BuildTask]
) -> None:
    """A few for each stage, whatever its shards, and one for each part of what people read."""
    first = build(lake, pool, tasks)
    assert len(first["toy/corpus"].parts) == 6
    counting = CountingLake(lake.uri)
    _requests.clear()
    assert build(counting, pool, tasks) == first
    assert _requests == {
        "read artifacts": len(tasks),
        # One where a manifest is found, and one wherever it is needed.
        "look at artifacts": len(tasks) + 6,
        "look at clock": 2,
        "look at parts": len(first["toy/corpus"].parts),
    }


def test_a_build_whose_clock_differs_from_the_store_s_does_not_begin(
    lake: Lake, pool: LocalPool, tasks: list[BuildTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not refresh old objects that it uses, and a sweep on another machine would delete them."""
    monkeypatch.setattr("infra.store.clock.MOST_SKEW_SECONDS", -1.0)
    with pytest.raises(StoreError, match="the clock of this machine"):
        build(lake, pool, tasks)
    assert list(lake.list("markers")) == []


def test_a_missing_part_of_a_corpus_is_made_again_alone(lake: Lake, pool: LocalPool, tasks: list[BuildTask]) -> None:
    first = build(lake, pool, tasks)
    gone = first["toy/corpus"].parts[2]
    before = written(lake)
    lake.delete(gone.path)
    assert build(lake, pool, tasks)["toy/corpus"].digest == first["toy/corpus"].digest
    after = written(lake)
    assert lake.size(gone.path) == gone.bytes
    new = {path for path in after if after[path] != before[path] and path.startswith(("parts/", "markers/"))}
    assert {path.split("/")[0] for path in new} == {"parts", "markers"} and len(new) == 2


def test_a_missing_part_that_is_needed_is_made_again_alone(lake: Lake, pool: LocalPool, tasks: list[BuildTask]) -> None:
    """Also what it was made from, down to the input files; the stage that needs it goes on."""
    first = build(lake, pool, tasks)
    lake.delete(first["toy/documents"].parts[1].path)
    lake.delete(first["toy/length"].parts[1].path)
    lake.delete(first["toy/corpus"].parts[1].path)
    before = written(lake)
    again = build(lake, pool, tasks)
    assert {name: one.digest for name, one in again.items()} == {name: one.digest for name, one in first.items()}
    after = written(lake)
    assert [lake.size(part.path) for one in first.values() for part in one.parts] == [
        part.bytes for one in first.values() for part in one.parts
    ]
    new = {path for path in after if after[path] != before.get(path) and path.startswith("markers/")}
    assert len(new) == 3


def test_a_truncated_part_is_a_missing_one(lake: Lake, pool: LocalPool, tasks: list[BuildTask]) -> None:
    """As after a power loss, on file systems that do not order what they write."""
    first = build(lake, pool, tasks)
    part, needed = first["toy/corpus"].parts[0], first["toy/length"].parts[0]
    lake.write(part.path, b"")
    lake.write(needed.path, b"")
    build(lake, pool, tasks)
    assert (lake.size(part.path), lake.size(needed.path)) == (part.bytes, needed.bytes)


def test_an_exchanged_part_is_not_made_again_silently(lake: Lake, pool: LocalPool, tasks: list[BuildTask]) -> None:
    first = build(lake, pool, tasks)
    part = first["toy/documents"].parts[0]
    lake.write(part.path, lake.read(part.path)[::-1])
    lake.delete(first["toy/corpus"].parts[0].path)
    with pytest.raises(WorkFailed, match=r"its bytes changed.*millrace verify"):
        build(lake, pool, tasks)


def test_a_part_that_nobody_here_can_make_again_is_told(lake: Lake, pool: LocalPool, tasks: list[BuildTask]) -> None:
    first = build(lake, pool, tasks)
    lake.delete(first["toy/documents"].parts[0].path)
    lake.delete(first["toy/corpus"].parts[0].path)
    known = {name: first[name] for name in ("toy/documents", "toy/length")}
    with pytest.raises(WorkFailed, match=r"does not exist.*--forget"):
        in_flow(lambda: StageRunner(lake, pool, quiet).run(tasks[2:], known))


@pytest.mark.parametrize("text", [b"", b"{", b"[1]"])
def test_a_damaged_marker_or_manifest_costs_its_own_work(
    lake: Lake, pool: LocalPool, tasks: list[BuildTask], text: bytes
) -> None:
    first = build(lake, pool, tasks)
    markers = [entry.path for entry in lake.list("markers/toy_length")]
    lake.write(first["toy/length"].path, text)
    lake.write(markers[0], text)
    before = written(lake)
    again = build(lake, pool, tasks)
    assert {name: one.digest for name, one in again.items()} == {name: one.digest for name, one in first.items()}
    after = written(lake)
    assert {path for path in after if path.startswith("markers/") and after[path] != before[path]} == {markers[0]}
    assert read_marker(lake, "toy_length", Path(markers[0]).stem) is not None


def test_an_artifact_that_lacks_parts_gives_way_to_one_that_differs(
    lake: Lake, pool: LocalPool, tasks: list[BuildTask]
) -> None:
    """Otherwise the first result would be kept for ever, without its parts."""
    first = build(lake, pool, tasks)
    manifest = first["toy/corpus"]
    other = replace(manifest.parts[0], sha256="0" * 64, content="0" * 64)
    lake.write_json(manifest.path, {**lake.read_json(manifest.path), "digest": "0" * 64, "parts": [asdict(other)]})
    assert build(lake, pool, tasks)["toy/corpus"].digest == manifest.digest
