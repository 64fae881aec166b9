import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies

from infra.documents import EDITS_TYPE, apply_edits
from infra.stage import find_stage
from tasks.paragraphs import (
    PARAGRAPH_SCHEMA,
    ParagraphConfig,
    annotate_paragraphs,
    map_paragraphs,
    paragraphs,
    reduce_paragraphs,
)
from tasks.text.lines import hash_lines
from tests.tasks.partitioned import run_partitioned
from tests.tasks.text.hashing import line_for_hashing


def documents_of(texts: Sequence[str]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


def run(shards: Sequence[Sequence[str]], config: ParagraphConfig, partitions: int = 1) -> list[pa.Table]:
    return run_partitioned(paragraphs, [documents_of(texts) for texts in shards], config, partitions)


def cc_net(files: Sequence[Sequence[str]], files_per_group: int) -> list[list[list[str]]]:
    """The kept lines of each document: cc_net's algorithm with Python sets, and no hashing."""
    kept: list[list[list[str]]] = []
    for number, shard in enumerate(files):
        group = number // files_per_group * files_per_group
        holders: Counter[str] = Counter()
        for texts in files[group : group + files_per_group]:
            for text in texts:
                holders.update(set(map(line_for_hashing, text.split("\n"))) if text else set())
        kept.append([])
        for text in shard:
            seen: set[str] = set()
            lines = []
            for line in text.split("\n"):
                key = line_for_hashing(line)
                if text and holders[key] < 2 and key not in seen:
                    lines.append(line)
                seen.add(key)
            kept[-1].append(lines)
    return kept


LINES = strategies.sampled_from(
    ["", " ", "a", "A ", "b", "Zeile 1", "zeile 2", "日本語…", "日本語", "é", "e", "\x85", "x\x00"]
)
TEXTS = strategies.lists(LINES, max_size=6).map("\n".join)
SHARDS = strategies.lists(strategies.lists(TEXTS, max_size=4), min_size=1, max_size=5)


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(SHARDS, strategies.integers(1, 3), strategies.integers(1, 4))
def test_edited_text_is_the_kept_lines_of_cc_net(shards: list[list[str]], group: int, partitions: int) -> None:
    results = run(shards, ParagraphConfig(files_per_group=group), partitions)
    for texts, annotations, expected in zip(shards, results, cc_net(shards, group), strict=True):
        edited, struck = apply_edits(pa.chunked_array([texts], pa.string()), annotations["edits"])
        assert edited.to_pylist() == ["\n".join(lines) for lines in expected]
        assert struck == sum(annotations["bytes_struck"].to_pylist())
        kept = np.subtract(annotations["lines"].to_pylist(), annotations["struck"].to_pylist())
        assert kept.tolist() == [len(lines) for lines in expected]
        assert annotations["lines"].to_pylist() == [len(text.split("\n")) if text else 0 for text in texts]


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(SHARDS)
def test_edits_are_sorted_disjoint_and_not_empty(shards: list[list[str]]) -> None:
    for annotations in run(shards, ParagraphConfig(), 2):
        for spans in annotations["edits"].to_pylist():
            flat = [offset for span in spans for offset in (span["start"], span["end"])]
            assert flat == sorted(flat)
            assert all(span["start"] < span["end"] for span in spans)


def test_all_copies_across_documents_go_and_the_first_within_one_stays() -> None:
    texts = ["own\nshared\nown\nlast", "Shared…\nother", "alone\nalone"]
    [annotations] = run([texts], ParagraphConfig())
    edited, _ = apply_edits(pa.chunked_array([texts]), annotations["edits"])
    assert edited.to_pylist() == ["own\nlast", "other", "alone"]
    assert annotations["struck"].to_pylist() == [2, 1, 1]
    assert annotations["edits"].to_pylist()[0] == [{"start": 4, "end": 15, "replacement": ""}]
    assert annotations["edits"].to_pylist()[2] == [{"start": 5, "end": 11, "replacement": ""}]
    assert annotations["bytes_struck"].to_pylist() == [11, 10, 6]


def test_a_document_whose_every_line_is_struck_says_so() -> None:
    [first, second] = run([["gone\ngone"], ["gone"]], ParagraphConfig())
    assert first.to_pylist() == [
        {"edits": [{"start": 0, "end": 9, "replacement": ""}], "lines": 2, "struck": 2, "bytes_struck": 9}
    ]
    assert second["lines"].to_pylist() == second["struck"].to_pylist() == [1]


def test_groups_do_not_see_each_other() -> None:
    shards = [["same"], ["x"], ["same"], ["y"]]
    for size, struck in [(2, [0, 0, 0, 0]), (3, [1, 0, 1, 0])]:
        results = run(shards, ParagraphConfig(files_per_group=size))
        assert [table["struck"].to_pylist() for table in results] == [[count] for count in struck]


def test_a_line_with_the_hash_that_marks_deletion_is_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = reduce_paragraphs([], ParagraphConfig())
    text = documents_of(["kept"])
    assert annotate_paragraphs(text, rows, ParagraphConfig())["struck"].to_pylist() == [0]
    # No text that hashes to 0 is known, so the marker goes to a text.
    monkeypatch.setattr("tasks.paragraphs._DELETED", hash_lines(text["text"]).hash[0])
    assert annotate_paragraphs(text, rows, ParagraphConfig())["struck"].to_pylist() == [1]


def test_empty_tables_keep_their_schema() -> None:
    config = ParagraphConfig()
    mapped = map_paragraphs(documents_of([]), config)
    assert mapped.schema.names == ["partition", "row", "hash"] and mapped.num_rows == 0
    reduced = reduce_paragraphs([], config)
    assert reduced.schema == pa.schema([("shard", pa.int32()), ("hash", pa.uint64()), ("keeper", pa.int32())])
    assert annotate_paragraphs(documents_of([]), reduced, config).schema == PARAGRAPH_SCHEMA
    assert annotate_paragraphs(documents_of([""]), reduced, config).to_pylist() == [
        {"edits": [], "lines": 0, "struck": 0, "bytes_struck": 0}
    ]


def test_the_stage_is_found_by_its_reference() -> None:
    assert find_stage(paragraphs.reference) is paragraphs
    assert PARAGRAPH_SCHEMA.field("edits").type == EDITS_TYPE


def kept_by_brute_force(shards: Sequence[Sequence[str]], unit: str) -> list[list[str]]:
    """The text of each document when the first document keeps what several share."""
    seen: set[str] = set()
    found: list[list[str]] = []
    for shard in shards:
        found.append([])
        for text in shard:
            kept = []
            for part in text.split("\n") if unit == "line" else re.split(r"\n(?:[^\S\n]*\n)+", text.strip("\n")):
                key = "\n".join(map(line_for_hashing, part.split("\n")))
                if key not in seen:
                    kept.append(part)
                seen.add(key)
            found[-1].append(("\n" if unit == "line" else "\n\n").join(kept))
    return found


@hypothesis.settings(deadline=None)
@hypothesis.given(
    strategies.lists(
        strategies.lists(strategies.lists(strategies.sampled_from("abcde"), min_size=1, max_size=5), max_size=4),
        min_size=1,
        max_size=4,
    ),
    strategies.sampled_from(["line", "paragraph"]),
    strategies.integers(1, 3),
)
def test_the_first_document_keeps_what_several_share(
    shards: list[list[list[str]]], unit: Literal["line", "paragraph"], partitions: int
) -> None:
    joint = "\n" if unit == "line" else "\n\n"
    texts = [
        [joint.join(f"{word}\nof {word}" if unit == "paragraph" else word for word in words) for words in shard]
        for shard in shards
    ]
    results = run(texts, ParagraphConfig(unit=unit, keep="first"), partitions)
    for shard, annotations, expected in zip(texts, results, kept_by_brute_force(texts, unit), strict=True):
        edited, _ = apply_edits(pa.chunked_array([shard], pa.string()), annotations["edits"])
        assert edited.to_pylist() == expected


def test_paragraphs_are_the_lines_between_blank_ones() -> None:
    shared = "The same\ntwo lines."
    texts = [f"First.\n\n{shared}\n \n\nLast.", f"\n\n{shared}\n", f"Own\ntwo lines.\n\n\n{shared.upper()}"]
    [found] = run([texts], ParagraphConfig(unit="paragraph", keep="first"))
    edited, _ = apply_edits(pa.chunked_array([texts], pa.string()), found["edits"])
    assert edited.to_pylist() == [texts[0], "\n\n\n", "Own\ntwo lines."]
    assert found["lines"].to_pylist() == [3, 1, 2]
    [none] = run([texts], ParagraphConfig(unit="paragraph"))
    edited, _ = apply_edits(pa.chunked_array([texts], pa.string()), none["edits"])
    assert edited.to_pylist()[0] == "First.\n\nLast."
