"""Plans: keys, what is computed again after a change, and books that balance."""

from __future__ import annotations

from pathlib import Path

import pytest
from infra.engine.pieces import Floor

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import Call, FitPlan, PassPlan, SourcePlan, present
from infra.engine.pool import LocalPool, PieceFailed
from infra.engine.shards import PartReader
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest
from tests.infra.engine import toy

CONFIG = toy.ToyConfig()


def quiet(label: str, done: int, total: int) -> None:
    """No progress to show."""


def write_inputs(folder: Path, files: int = 3) -> list[str]:
    """Files a.txt, b.txt, … of a few lines each."""
    folder.mkdir(exist_ok=True)
    for number in range(files):
        name = folder / f"{'abcdefgh'[number]}.txt"
        name.write_text(f"the cat {number}\n\n!\nthe dog\ncat cat\nünicode {number}\n")
    return [str(folder)]


def read_source(lake: Lake, pool: LocalPool, patterns: list[str]) -> Manifest:
    files = take_inventory(lake, patterns).files
    return SourcePlan(Call(toy.read_lines, CONFIG), files).carry_out(lake, pool, quiet)[0]


def rows(lake: Lake, tmp_path: Path, manifest: Manifest) -> list[dict[str, object]]:
    from infra.tables import read_table

    reader = PartReader(lake, tmp_path)
    return [row for part in manifest.parts for row in read_table(reader.path(part)).to_pylist()]


def markers(lake: Lake, stage: str) -> set[str]:
    return {entry.path for entry in lake.list(f"markers/{stage}")}


def test_a_source_accounts_for_every_record_and_byte(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    manifest = read_source(lake, pool, write_inputs(tmp_path / "in"))
    account = manifest.account
    assert (account.rows_in, account.kept, account.dropped, account.failed) == (18, 12, {"empty": 3}, {"broken": 3})
    assert account.bytes_in == sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
    assert [failure["file"] for failure in account.failures] == ["a.txt", "b.txt", "c.txt"]
    assert all(failure["offset"] == 11 and failure["reason"] == "broken" for failure in account.failures)
    assert [part.name for part in manifest.parts] == ["a.txt#0", "b.txt#0", "c.txt#0"]
    assert manifest.rows == 12


def test_the_same_inputs_give_the_same_digest_elsewhere(pool: LocalPool, tmp_path: Path) -> None:
    first = read_source(Lake.open(str(tmp_path / "one")), pool, write_inputs(tmp_path / "in"))
    second = read_source(Lake.open(str(tmp_path / "two")), pool, write_inputs(tmp_path / "moved"))
    assert (first.key, first.digest) == (second.key, second.digest)


def test_an_added_file_reads_that_file_only(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    read_source(lake, pool, write_inputs(tmp_path / "in", 3))
    before = markers(lake, "toy_lines")
    manifest = read_source(lake, pool, write_inputs(tmp_path / "in", 4))
    assert len(markers(lake, "toy_lines") - before) == 1
    assert len(manifest.parts) == 4


def test_a_pass_annotates_row_by_row_and_counts_failures(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    doubled = Call(toy.measure_length, toy.ToyConfig(factor=2))
    plan = PassPlan((doubled,), documents)
    assert present(lake, plan) is None
    annotation = plan.carry_out(lake, pool, quiet)[0]
    found = [row["length"] for row in rows(lake, tmp_path, annotation)]
    assert found == [2 * len(str(row["text"])) for row in rows(lake, tmp_path, documents)]
    assert annotation.account.failed == {"not_ascii": 3}
    assert annotation.account.kept == 9
    again = present(lake, plan)
    assert again is not None and again[0].digest == annotation.digest


def test_a_floor_skips_documents_and_counts_them(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    lengths = PassPlan((Call(toy.measure_length, CONFIG),), documents).carry_out(lake, pool, quiet)[0]
    again = Call(toy.measure_length, toy.ToyConfig(factor=3))
    plan = PassPlan(
        (again,), documents, annotations=(("toy_length", lengths),), floors=(Floor("toy_length.length", at_least=8),)
    )
    annotation = plan.carry_out(lake, pool, quiet)[0]
    assert annotation.account.skipped == 6
    found = [row["length"] for row in rows(lake, tmp_path, annotation)]
    assert found == [
        3 * len(str(row["text"])) if len(str(row["text"])) >= 8 else None for row in rows(lake, tmp_path, documents)
    ]
    assert plan.keys != PassPlan((again,), documents, annotations=(("toy_length", lengths),)).keys


def test_a_kernel_that_loses_a_row_fails(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    with pytest.raises(PieceFailed, match="was given 4 documents and annotated 3"):
        PassPlan((Call(toy.lose_one_row, CONFIG),), documents).carry_out(lake, pool, quiet)
    assert not markers(lake, "toy_loser")


def test_books_that_do_not_balance_fail() -> None:
    from infra.store.ledger import BooksDoNotBalance

    with pytest.raises(BooksDoNotBalance, match="10 came in, 9 are accounted for"):
        Account(rows_in=10, kept=8, dropped={"short": 1}).check("stage x")
    with pytest.raises(BooksDoNotBalance, match="5 bytes came in"):
        Account(bytes_in=5, bytes_out={"kept": 4}).check("stage x")


@pytest.mark.parametrize("stage", [toy.word_counts, toy.gathered_counts], ids=lambda stage: stage.name)
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_partitioned_stage_sees_all_shards(
    lake: Lake, pool: LocalPool, tmp_path: Path, partitions: int, stage: object
) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    plan = PartitionedPlan(Call(stage, toy.ToyConfig(partitions=partitions)), documents)  # type: ignore[arg-type]
    counts = [row["most_common"] for row in rows(lake, tmp_path, plan.carry_out(lake, pool, quiet)[0])]
    assert counts == [9, 6, 9, 3] * 3


def test_a_group_sees_its_own_shards_only(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    plan = PartitionedPlan(Call(toy.word_counts, toy.ToyConfig(shards_per_group=1)), documents)
    counts = [row["most_common"] for row in rows(lake, tmp_path, plan.carry_out(lake, pool, quiet)[0])]
    assert counts == [3, 2, 3, 2] * 3


def test_a_fit_reads_every_document_in_order(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    fitted = FitPlan(Call(toy.fit_total, CONFIG), documents).carry_out(lake, pool, quiet)[0]
    assert fitted.parts[0].name == "total.txt"
    total = sum(len(str(row["text"])) for row in rows(lake, tmp_path, documents))
    assert lake.read(fitted.parts[0].path).decode() == str(total)
