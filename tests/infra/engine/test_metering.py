"""The engine of forecasts: what it measures of each unit, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.engine.metering import MeteredEngine
from infra.engine.plans import ConfiguredStage, SourcePlan
from infra.engine.sampling import Sample
from infra.engine.scheduling import WorkerDied, WorkFailed
from infra.store.counted import READ, WRITE, CountedLake
from infra.store.errors import StoreUnavailable
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from tasks.sources.jsonl import read_json_lines


@pytest.fixture
def counted(tmp_path: Path) -> CountedLake:
    lake = CountedLake.open(str(tmp_path / "counted"))
    assert isinstance(lake, CountedLake)
    return lake


def plan(lake: Lake, folder: Path, files: int) -> SourcePlan:
    for number in range(files):
        (folder / f"{number}.jsonl").write_text(f'{{"text": "line {number}"}}\n' * 10)
    inputs = take_inventory(lake, [str(folder / "*.jsonl")]).files
    return SourcePlan(ConfiguredStage(read_json_lines, read_json_lines.config(source="web")), inputs, Sample(1))


def silent(label: str, done: int, total: int) -> None:
    """Nobody watches."""


def test_it_measures_units(counted: CountedLake, tmp_path: Path) -> None:
    made = plan(counted, tmp_path, 3)
    engine = MeteredEngine(counted, tmp_path, careful=False)
    [manifest] = made.run(counted, engine, silent)
    [phase] = engine.take()
    assert engine.take() == []
    assert (phase.kind, phase.units) == ("SourceUnit", 3)
    assert 0 < phase.longest <= phase.seconds and phase.peak > 10_000_000
    # Each unit asks for its marker, stores a part and a marker, and asks for their sizes.
    assert phase.requests % 3 == 0 and phase.requests >= 3 * 4
    assert [digest for digest, _ in engine.files] == [file.sha256 for file in made.files]
    assert manifest.rows == 30


@pytest.mark.parametrize("careful", [False, True])
def test_records_are_watched_on_demand(
    counted: CountedLake, tmp_path: Path, careful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def fake(unit: Any, cache: Path) -> Any:
        seen.append(unit.careful)
        raise StoreUnavailable("enough")

    monkeypatch.setattr("infra.engine.metering.do", fake)
    with pytest.raises(StoreUnavailable):
        plan(counted, tmp_path, 1).run(counted, MeteredEngine(counted, tmp_path, careful), silent)
    assert seen == [careful]


@pytest.mark.parametrize(
    ("raised", "expected"), [(ZeroDivisionError("x"), WorkFailed), (WorkerDied(": it died"), WorkerDied)]
)
def test_errors_name_the_unit(
    counted: CountedLake, tmp_path: Path, raised: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(unit: Any, cache: Path) -> Any:
        raise raised

    monkeypatch.setattr("infra.engine.metering.do", fake)
    with pytest.raises(expected) as caught:
        plan(counted, tmp_path, 1).run(counted, MeteredEngine(counted, tmp_path, False), silent)
    assert expected is WorkerDied or "0.jsonl: ZeroDivisionError: x" in str(caught.value)


def test_a_lake_counts_what_a_remote_one_is_asked(counted: CountedLake, tmp_path: Path) -> None:
    before = counted.requests.copy()
    counted.write("parts/aa/x.bin", b"x")
    assert counted.requests[WRITE] - before[WRITE] == 1
    reads = counted.requests[READ]
    counted.local_path("parts/aa/x.bin")
    counted.local_path("parts/aa/x.bin")  # the copy on this machine
    counted.read("parts/aa/x.bin")
    assert counted.requests[READ] - reads == 2
