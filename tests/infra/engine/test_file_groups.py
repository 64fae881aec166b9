"""Partitioned stages that compare documents within so many input files of one source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage
from infra.engine.pool import LocalPool
from infra.engine.views import View
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tests.infra.engine import toy
from tests.infra.engine.test_plans import markers, quiet, read_source, rows


def write_files(folder: Path, *contents: str) -> list[str]:
    """Files 00.txt, 01.txt, …, which end in a word that all files have."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number:02}.txt").write_text(content)
    return [str(folder)]


def plan(size: int | None, *sources: Manifest) -> PartitionedPlan:
    views = tuple(View(f"s{number}", documents) for number, documents in enumerate(sources))
    return PartitionedPlan(ConfiguredStage(toy.word_counts, toy.ToyConfig(files_per_group=size)), views)


def counts(lake: Lake, pool: LocalPool, folder: Path, size: int | None, *sources: Manifest) -> list[object]:
    """For each document, how often its word stands in its group."""
    [made] = plan(size, *sources).run(lake, pool, quiet)
    return [row["most_common"] for row in rows(lake, folder, made)]


def test_a_file_of_several_shards_is_one_member_of_a_group(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    large = "same\n" + "".join(f"w{number}\n" for number in range(24_998)) + "same\n"
    documents = read_source(lake, pool, write_files(tmp_path / "in", large, "same\nw5\n", "w6\nsame\n"))
    assert len(documents.parts) == 5 and documents.parts_of_files == [3, 1, 1]
    alone = counts(lake, pool, tmp_path, 1, documents)
    assert alone == [2, *[1] * 24_998, 2] + [1] * 4
    both = counts(lake, pool, tmp_path, 2, documents)
    assert (both[0], both[6], both[7], both[24_999:]) == (3, 2, 1, [3, 3, 2, 1, 1])
    assert counts(lake, pool, tmp_path, 3, documents) == counts(lake, pool, tmp_path, None, documents)


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [1] * 5), (2, [2, 2, 1, 2, 2]), (3, [3, 3, 3, 2, 2]), (50, [3, 3, 3, 2, 2])]
)
def test_a_group_has_files_of_one_source(
    lake: Lake, pool: LocalPool, tmp_path: Path, size: int, expected: list[int]
) -> None:
    first = read_source(lake, pool, write_files(tmp_path / "one", *(f"same\na{n}\n" for n in range(3))))
    second = read_source(lake, pool, write_files(tmp_path / "two", *(f"same\nb{n}\n" for n in range(2))))
    assert counts(lake, pool, tmp_path, size, first, second)[::2] == expected
    assert counts(lake, pool, tmp_path, None, first, second)[::2] == [5] * 5


def test_a_file_without_documents_is_a_member(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    """Also where the next file has its name, so that the names of parts cannot tell them apart."""
    write_files(tmp_path / "in" / "a", "same\n1\n")
    for folder, content in (("b", "\n\n\n"), ("c", "same\n2\n"), ("d", "same\n3\n"), ("e", "\n")):
        write_files(tmp_path / "in" / folder, content)
    documents = read_source(lake, pool, [str(tmp_path / "in")])
    assert documents.parts_of_files == [1, 0, 1, 1, 0]
    assert counts(lake, pool, tmp_path, 2, documents)[::2] == [1, 2, 2]
    assert counts(lake, pool, tmp_path, 3, documents)[::2] == [2, 2, 1]
    nothing = read_source(lake, pool, write_files(tmp_path / "empty", "\n"))
    assert counts(lake, pool, tmp_path, 2, nothing) == []


def test_a_file_at_the_end_moves_no_earlier_group(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    contents = [f"same\n{number}\n" for number in range(6)]
    before = counts(lake, pool, tmp_path, 2, read_source(lake, pool, write_files(tmp_path / "in", *contents[:4])))
    known = markers(lake, "toy_words")
    grown = read_source(lake, pool, write_files(tmp_path / "in", *contents[:5]))
    assert counts(lake, pool, tmp_path, 2, grown) == [*before, 1, 1]
    assert len(markers(lake, "toy_words") - known) == 3, "a map, a reduce and an annotation of the new file"
    grown = read_source(lake, pool, write_files(tmp_path / "in", *contents))
    assert counts(lake, pool, tmp_path, 2, grown) == [*before, 2, 1, 2, 1]


def test_the_key_depends_on_the_files_that_shards_are_from(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_files(tmp_path / "in", *(f"same\n{number}\n" for number in range(4))))
    entry = documents.details["files"][0]
    joined = replace(documents, details={"files": [entry] * 2, "shards": [1, 3]})
    assert plan(1, joined).keys != plan(1, documents).keys
    assert plan(None, joined).keys == plan(None, documents).keys
    assert counts(lake, pool, tmp_path, 1, joined)[::2] == [1, 3, 3, 3]


def test_documents_read_before_their_manifest_told_the_files(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    large = "".join(f"w{number}\n" for number in range(10_001))
    documents = read_source(lake, pool, write_files(tmp_path / "in", "\n", "a\n", large, "", "b\n"))
    older = replace(documents, details={"files": documents.details["files"]})
    assert older.parts_of_files == documents.parts_of_files == [0, 1, 2, 0, 1]
    assert plan(2, older).keys == plan(2, documents).keys


@pytest.mark.parametrize("shards", [[1], [1, 1, 1], [2, 1], [0, 1]])
def test_a_manifest_that_does_not_tell_its_files_is_refused(
    lake: Lake, pool: LocalPool, tmp_path: Path, shards: list[int]
) -> None:
    documents = read_source(lake, pool, write_files(tmp_path / "in", "a\n", "b\n"))
    wrong = replace(documents, details={**documents.details, "shards": shards})
    with pytest.raises(Corrupt, match="2 parts of 2 files"):
        plan(2, wrong).run(lake, pool, quiet)
