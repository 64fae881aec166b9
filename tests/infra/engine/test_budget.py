"""A record that exceeds its budget fails; the rest of its file goes on, and other builds of the lake agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.budget import Budget
from infra.engine import records, watch
from infra.engine.plans import ConfiguredStage, PassPlan, SourcePlan
from infra.engine.pool import LocalPool
from infra.engine.records import MOST_OVER_BUDGET, RecordReader
from infra.engine.units import SourceUnit
from infra.engine.views import View
from infra.engine.watch import Watch
from infra.outcomes import Dropped, Failed, Found, Outcome, Record, Underway, read_all
from infra.store.inputs import InputFile, take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Marker
from infra.store.verdicts import Verdicts
from infra.tables import read_table
from tests.infra.engine import toy
from tests.infra.engine.test_plans import quiet, read_source

BUDGET = Budget(seconds=0.5, memory_bytes=3 << 30)
POISON = ConfiguredStage(toy.read_poison, toy.ToyConfig())


def inventory(lake: Lake, folder: Path, lines: str) -> InputFile:
    folder.mkdir()
    (folder / "a.txt").write_text(lines)
    [file] = take_inventory(lake, [str(folder)]).files
    return file


def read(lake: Lake, pool: LocalPool, file: InputFile) -> Marker:
    unit = SourceUnit(lake, POISON.keyed(file=file.sha256), file, BUDGET)
    [markers] = pool.run([unit], lambda done, total: None)
    return markers[unit.call.key]


@pytest.mark.parametrize(
    ("poison", "cause"),
    [
        ("spin", "used more processor time than its budget (0.5 s of processor time"),
        ("bloat", "needed more than 3 GiB of memory"),
        ("crash", "crashed (SIGSEGV)"),
    ],
)
def test_a_record_fails_and_its_neighbours_do_not(
    lake: Lake, pool: LocalPool, tmp_path: Path, poison: str, cause: str
) -> None:
    found = read(lake, pool, inventory(lake, tmp_path / "in", f"one\n{poison}\ntwo\n{poison}\n"))
    assert toy.texts(lake, found) == ["one", "two"], found.account
    assert found.account.failed == {"over_budget": 2} and found.account.rows_in == 4
    first, second = found.account.failures
    assert (first["file"], first["offset"], second["offset"]) == ("a.txt", 4, 4 + len(poison) + 1 + 4)
    assert cause in first["example"] and "another machine may differ" in first["example"]


def test_the_rest_of_a_file_whose_reader_is_held_up_is_one_failure(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    found = read(lake, pool, inventory(lake, tmp_path / "in", "one\njam\ntwo\n"))
    assert toy.texts(lake, found) == ["one"]
    assert found.account.failed == {"over_budget": 1}
    assert "the file is not read from here on" in found.account.failures[0]["example"]


def test_later_builds_in_the_lake_agree_and_say_that_it_depends_on_the_machine(
    lake: Lake, pool: LocalPool, tmp_path: Path
) -> None:
    read(lake, pool, inventory(lake, tmp_path / "in", "one\ncrash\n"))
    # Another file with the same record, under the budget of a larger machine.
    other = inventory(lake, tmp_path / "other", "crash\ntwo\n")
    [manifest] = SourcePlan(POISON, (other,)).run(lake, pool, quiet)
    assert toy.texts(lake, manifest) == ["two"]
    assert manifest.account.failed == {"over_budget": 1}
    assert manifest.details["machine_dependent"] == {"over_budget": 1}


def test_a_document_of_which_a_stage_dies_fails_in_this_stage(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    def documents(lines: str, folder: str) -> View:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(lines)
        return View("toy", read_source(lake, pool, [str(tmp_path / folder)]))

    stage = ConfiguredStage(toy.measure_poisoned, toy.ToyConfig())
    for folder, lines in (("in", "one\ncrash\nfour\n"), ("other", "zero\ncrash\n")):
        [manifest] = PassPlan((stage,), documents(lines, folder)).run(lake, pool, quiet)
        table = read_table(Path(lake.uri, manifest.parts[0].path))
        wanted = [None if line == "crash" else len(line) for line in lines.split()]
        assert table["length"].to_pylist() == wanted
        assert table["failed"].to_pylist() == ["over_budget" if length is None else None for length in wanted]
        assert manifest.account.failed == {"over_budget": 1}
        assert manifest.details["machine_dependent"] == {"over_budget": 1}
    [clean] = PassPlan((stage,), documents("five\n", "clean")).run(lake, pool, quiet)
    assert "failed" not in read_table(Path(lake.uri, clean.parts[0].path)).column_names


def test_a_file_that_is_full_of_them_is_not_read_to_the_end(lake: Lake, tmp_path: Path) -> None:
    file = inventory(lake, tmp_path / "in", "made of lines\n")

    def fail() -> Outcome:
        raise MemoryError

    made = [Record(b"%d" % number, number, fail) for number in range(100)]
    found = [*RecordReader(file, Watch(BUDGET), Verdicts(lake, "toy", "key")).outcomes(made)]
    assert len(found) == MOST_OVER_BUDGET + 2
    assert all(isinstance(one, Failed) and one.reason == "over_budget" for one in found)


def test_a_source_that_reads_on_has_a_budget_for_each_part(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = inventory(lake, tmp_path / "in", "made of lines\n")
    started: list[Budget] = []
    monkeypatch.setattr(watch, "start_clock", started.append)
    made: list[Found] = [Underway(), Underway(), Record(b"page", 0, lambda: Dropped("empty", 4, "")), Underway()]
    found = [*RecordReader(file, Watch(BUDGET), Verdicts(lake, "toy", "key")).outcomes(made)]
    assert found == [Dropped("empty", 4, "")]
    # Four things that the source gives, the end of the file, and the record.
    assert started == [BUDGET] * 6
    assert [*read_all(made)] == found


def test_no_record_is_hashed_where_no_verdict_is_kept(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = inventory(lake, tmp_path / "in", "made of lines\n")
    hashed: list[bytes] = []
    monkeypatch.setattr(records, "sha256_bytes", lambda data: hashed.append(data) or "0" * 64)  # type: ignore[func-returns-value]
    made = [Record(b"page", number, lambda: Dropped("empty", 4, "")) for number in range(3)]
    assert len([*RecordReader(file, Watch(BUDGET), Verdicts(lake, "toy", "key")).outcomes(made)]) == 3
    assert b"page" not in hashed
