"""Plans: keys, what is computed again after a change, and books that balance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage, FitPlan, PassPlan, SelectPlan, SourcePlan, present
from infra.engine.pool import LocalPool
from infra.engine.scheduling import WorkFailed
from infra.engine.shards import PartReader
from infra.engine.shuffle import read_slice, store_rows
from infra.engine.units import Floor
from infra.engine.views import Annotation, View
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.ledger import Account, BooksDoNotBalance
from infra.store.manifest import Manifest, read_marker
from infra.tables import read_table
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
    return SourcePlan(ConfiguredStage(toy.read_lines, CONFIG), files).run(lake, pool, quiet)[0]


def rows(lake: Lake, tmp_path: Path, manifest: Manifest) -> list[dict[str, object]]:
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
    doubled = ConfiguredStage(toy.measure_length, toy.ToyConfig(factor=2))
    plan = PassPlan((doubled,), View("toy", documents))
    assert present(lake, plan) is None
    annotation = plan.run(lake, pool, quiet)[0]
    found = [row["length"] for row in rows(lake, tmp_path, annotation)]
    assert found == [2 * len(str(row["text"])) for row in rows(lake, tmp_path, documents)]
    assert annotation.account.failed == {"not_ascii": 3}
    assert annotation.account.kept == 9
    again = present(lake, plan)
    assert again is not None and again[0].digest == annotation.digest


def test_a_floor_skips_documents_and_counts_them(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    lengths = PassPlan((ConfiguredStage(toy.measure_length, CONFIG),), View("toy", documents)).run(lake, pool, quiet)[0]
    again = ConfiguredStage(toy.measure_length, toy.ToyConfig(factor=3))
    view = View("toy", documents, annotations=(("toy_length", Annotation(lengths)),))
    floored = replace(view, floors=(Floor("toy_length.length", at_least=8),))
    plan = PassPlan((again,), floored)
    annotation = plan.run(lake, pool, quiet)[0]
    assert annotation.account.skipped == 6
    found = [row["length"] for row in rows(lake, tmp_path, annotation)]
    assert found == [
        3 * len(str(row["text"])) if len(str(row["text"])) >= 8 else None for row in rows(lake, tmp_path, documents)
    ]
    assert plan.keys != PassPlan((again,), view).keys


def test_a_kernel_that_loses_a_row_fails(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    with pytest.raises(WorkFailed, match="was given 4 documents and annotated 3"):
        PassPlan((ConfiguredStage(toy.lose_one_row, CONFIG),), View("toy", documents)).run(lake, pool, quiet)
    assert not markers(lake, "toy_loser")


def test_books_that_do_not_balance_fail() -> None:
    with pytest.raises(BooksDoNotBalance, match="10 came in, 9 are accounted for"):
        Account(rows_in=10, kept=8, dropped={"short": 1}).check("stage x")
    with pytest.raises(BooksDoNotBalance, match="5 bytes came in"):
        Account(bytes_in=5, bytes_out={"kept": 4}).check("stage x")


@pytest.mark.parametrize("bound", [100, 12, 3])
def test_a_partitioned_stage_sees_all_shards(lake: Lake, pool: LocalPool, tmp_path: Path, bound: int) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    plan = PartitionedPlan(ConfiguredStage(toy.word_counts, CONFIG), (View("toy", documents),), bound)
    counts = [row["most_common"] for row in rows(lake, tmp_path, plan.run(lake, pool, quiet)[0])]
    assert counts == [9, 6, 9, 3] * 3


def test_steps_and_repeated_steps_give_the_same_with_any_number_of_partitions(
    lake: Lake, pool: LocalPool, tmp_path: Path
) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    last = Counter(word[-1] for row in rows(lake, tmp_path, documents) for word in str(row["text"]).split())
    expected = [max(last[word[-1]] for word in str(row["text"]).split()) for row in rows(lake, tmp_path, documents)]
    digests = set()
    for bound in (100, 5, 1):
        plan = PartitionedPlan(ConfiguredStage(toy.letter_counts, CONFIG), (View("toy", documents),), bound)
        [found] = plan.run(lake, pool, quiet)
        assert [row["most_common"] for row in rows(lake, tmp_path, found)] == expected
        digests.add(found.digest)
        lake.delete(found.path)
    assert len(digests) == 1


def test_a_map_gives_one_part_and_every_step_counts_its_work(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    plan = PartitionedPlan(ConfiguredStage(toy.letter_counts, CONFIG), (View("toy", documents),), 1)
    [found] = plan.run(lake, pool, quiet)
    kept = [read_marker(lake, "toy_letters", Path(path).stem) for path in markers(lake, "toy_letters")]
    assert len(documents.parts) == len(found.markers) == 3
    assert all(marker is not None and len(marker.parts) == 1 for marker in kept)
    assert found.cost["worker_seconds"] == pytest.approx(sum(marker.seconds for marker in kept if marker), abs=0.002)


def test_a_reduce_reads_only_its_own_slices(tmp_path: Path, lake: Lake) -> None:
    path = tmp_path / "rows.parquet"
    numbers = pa.array(range(300_000), pa.int64())
    part, slices = store_rows(lake, path, pa.table({"n": numbers}), np.arange(300_000) % 3, "rows")
    assert set(slices) == {"0", "1", "2"} and part.rows == 300_000
    stored = Path(lake.uri, part.path)
    assert read_slice(stored, 1)["n"].to_pylist() == list(range(1, 300_000, 3))
    assert read_slice(stored, 7).num_rows == 0
    again, others = store_rows(lake, path, pa.table({"n": numbers.slice(0, 3)}), np.array([2, 5, 5]), "rows")
    first = store_rows(lake, path, pa.table({"n": numbers.slice(1, 2)}), np.array([5, 5]), "rows")[1]
    assert others["5"] == first["5"], "a slice is known by its own rows"
    assert again.content != part.content


def test_a_group_sees_its_own_shards_only(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    plan = PartitionedPlan(
        ConfiguredStage(toy.word_counts, toy.ToyConfig(files_per_group=1)), (View("toy", documents),)
    )
    counts = [row["most_common"] for row in rows(lake, tmp_path, plan.run(lake, pool, quiet)[0])]
    assert counts == [3, 2, 3, 2] * 3


def test_a_fit_reads_every_document_in_order(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    fitted = FitPlan(ConfiguredStage(toy.fit_total, CONFIG), (View("toy", documents),)).run(lake, pool, quiet)[0]
    assert fitted.parts[0].name == "total.txt"
    total = sum(len(str(row["text"])) for row in rows(lake, tmp_path, documents))
    assert lake.read(fitted.parts[0].path).decode() == str(total)


def test_a_pass_keys_each_stage_by_what_it_reads(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    """What a neighbour in the pass reads does not enter the key of a stage that does not read it."""
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    lengths = PassPlan((ConfiguredStage(toy.measure_length, CONFIG),), View("toy", documents)).run(lake, pool, quiet)[0]
    beside = View("toy", documents, annotations=(("toy_length", Annotation(lengths)),))
    stages = (ConfiguredStage(toy.measure_length, CONFIG), ConfiguredStage(toy.compare_length, CONFIG))
    together = PassPlan(stages, beside)
    assert together.keys[0] == PassPlan(stages[:1], View("toy", documents)).keys[0]
    assert together.keys[1] == PassPlan(stages[1:], beside).keys[0]
    alone, compared = together.run(lake, pool, quiet)
    assert alone.digest == lengths.digest
    assert [row["same"] for row in rows(lake, tmp_path, compared)] == [True] * 12
    assert set(alone.inputs) == {"toy/documents"}
    assert compared.inputs == {"toy/documents": documents.digest, "toy/toy_length": lengths.digest}


def test_an_annotation_of_all_sources_is_counted_from_the_first_shard_of_each(
    lake: Lake, pool: LocalPool, tmp_path: Path
) -> None:
    first = read_source(lake, pool, write_inputs(tmp_path / "in", 2))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "h.txt").write_text("the the the\n")
    second = read_source(lake, pool, [str(tmp_path / "more")])
    views = (View("one", first), View("two", second))
    whole = PartitionedPlan(ConfiguredStage(toy.word_counts, CONFIG), views).run(lake, pool, quiet)[0]
    assert len(whole.parts) == 3
    assert [row["most_common"] for row in rows(lake, tmp_path, whole)] == [7, 7, 6, 2] * 2 + [7]
    assert set(whole.inputs) == {"one/documents", "two/documents"}
    beside = View("two", second, annotations=(("counts", Annotation(whole, first=len(first.parts))),))
    [shard] = beside.shards()
    assert dict(shard.annotations)["counts"] == whole.parts[2]


def test_a_selection_writes_the_documents_that_stay(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    lengths = PassPlan((ConfiguredStage(toy.measure_length, CONFIG),), View("toy", documents)).run(lake, pool, quiet)[0]
    view = View("toy", documents, annotations=(("toy_length", Annotation(lengths)),))
    [kept] = SelectPlan(ConfiguredStage(toy.keep_long, CONFIG), view).run(lake, pool, quiet)
    texts = [str(row["text"]) for row in rows(lake, tmp_path, documents)]
    assert [row["text"] for row in rows(lake, tmp_path, kept)] == [text for text in texts if len(text) >= 8]
    assert kept.account.dropped == {"short": 6}
    assert [part.name for part in kept.parts] == ["toy_long/a.txt#0", "toy_long/b.txt#0", "toy_long/c.txt#0"]
