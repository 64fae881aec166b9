"""What must never pass unseen: inputs that change, bits that flip, a second result for one key."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from infra.engine.plans import ConfiguredStage, PassPlan, SourcePlan
from infra.engine.pool import LocalPool
from infra.engine.scheduling import WorkFailed
from infra.engine.units import SourceUnit
from infra.engine.views import View
from infra.engine.work import do
from infra.store.errors import StoreError, StoreFull
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.manifest import write_manifest
from tests.infra.engine import toy
from tests.infra.engine.test_plans import quiet, read_source, write_inputs


def test_an_input_that_grows_after_it_was_hashed_is_refused(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    with (tmp_path / "in" / "b.txt").open("a") as stream:
        stream.write("one more line\n")
    with pytest.raises(WorkFailed, match=r"b\.txt changed after this run found it"):
        SourcePlan(ConfiguredStage(toy.read_lines, toy.ToyConfig()), files).run(lake, pool, quiet)
    assert len(list((tmp_path / "lake" / "markers").rglob("*.json"))) <= 2, "the grown file has no marker"


def test_two_copies_of_a_file_are_refused(lake: Lake, tmp_path: Path) -> None:
    write_inputs(tmp_path / "in")
    (tmp_path / "in" / "z.txt").write_bytes((tmp_path / "in" / "a.txt").read_bytes())
    with pytest.raises(StoreError, match=r"a\.txt and .*z\.txt are the same file"):
        take_inventory(lake, [str(tmp_path / "in")])


def test_a_flipped_bit_in_a_local_part_is_an_error_not_a_value(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    path = tmp_path / "lake" / documents.parts[0].path
    stored = path.read_bytes()
    plan = PassPlan((ConfiguredStage(toy.measure_length, toy.ToyConfig()),), View("toy", documents))
    data = bytearray(stored)
    # The first data page begins right behind the magic and its header.
    data[60] ^= 4
    path.write_bytes(data)
    with pytest.raises(WorkFailed):
        plan.run(lake, pool, quiet)
    path.write_bytes(stored)
    plan.run(lake, pool, quiet)


def test_a_full_disk_names_the_folder_and_the_cure(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [file] = take_inventory(lake, [write_inputs(tmp_path / "in", 1)[0] + "/a.txt"]).files
    unit = SourceUnit(lake, ConfiguredStage(toy.read_lines, toy.ToyConfig()).keyed(file=file.sha256), file)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("infra.engine.reading.TableWriter", full)
    with pytest.raises(StoreFull, match="set TMPDIR to a folder with more"):
        do(unit, tmp_path)
    assert not list((tmp_path / "lake" / "markers").rglob("*.json"))


def test_a_renamed_input_is_not_read_again_and_has_its_new_name(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    first = read_source(lake, pool, write_inputs(tmp_path / "in"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "lake" / "markers").rglob("*.json")}
    (tmp_path / "in" / "c.txt").rename(tmp_path / "in" / "d.txt")
    renamed = read_source(lake, pool, [str(tmp_path / "in")])
    assert renamed.digest == first.digest
    assert [part.name for part in renamed.parts] == ["a.txt#0", "b.txt#0", "d.txt#0"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "lake" / "markers").rglob("*.json")} == before


def test_a_second_result_for_a_key_is_reported_and_the_first_stays(
    lake: Lake, pool: LocalPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    plan = SourcePlan(ConfiguredStage(toy.read_lines, toy.ToyConfig()), files)
    [made] = plan.run(lake, pool, quiet)
    other = replace(made, digest="0" * 64)
    write_manifest(lake, other)
    with caplog.at_level(logging.WARNING, "millrace.engine"):
        assert plan.run(lake, pool, quiet) == [other]
    assert "gave another result for the key" in caplog.text
