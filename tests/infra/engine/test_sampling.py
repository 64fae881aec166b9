"""Samples of records: which are taken, what is counted, and that keys change for samples only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.engine.plans import ConfiguredStage, SourcePlan
from infra.engine.pool import LocalPool
from infra.engine.sampling import Sample, Sampler
from infra.outcomes import Document, Dropped, Failed, Found, Kept, Outcome, Record, Underway
from infra.store.digests import key_of
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from tasks.sources.jsonl import read_json_lines

DIGEST = "3f" * 32


def taken(every: int, half: int | None = None, digest: str = DIGEST, records: int = 1000) -> list[int]:
    takes = Sample(every, half).chooser(digest)
    return [number for number in range(records) if takes(number)]


def test_one_of_every_neighbours_is_taken_and_always_the_same() -> None:
    for every in (1, 3, 20):
        chosen = taken(every)
        assert [number // every for number in chosen] == list(range(len(chosen)))
        assert chosen == taken(every)
    assert taken(20) != taken(20, digest="a7" * 32)
    assert len({number % 20 for number in taken(20)}) > 5  # no trap for files with a period


def test_halves_are_disjoint_and_make_up_the_sample() -> None:
    for every in (1, 20):
        first, second = taken(every, 0), taken(every, 1)
        assert sorted([*first, *second]) == taken(every)
        assert abs(len(first) - len(second)) <= 1


@pytest.mark.parametrize("wrong", [(0, None), (-1, None), (5, 2)])
def test_no_other_samples(wrong: tuple[int, int | None]) -> None:
    with pytest.raises(ValueError, match="is no sample"):
        Sample(*wrong)


def test_records_outside_the_sample_are_found_and_never_read() -> None:
    read: list[int] = []

    def records() -> Iterator[Record | Outcome]:
        for number in range(40):
            if number % 10 == 9:
                yield Failed("torn", 3, "", number)
                continue

            def outcome(number: int = number) -> Outcome:
                read.append(number)
                if number % 10 == 8:
                    return Dropped("unwanted", 5, "")
                return Kept(Document(str(number), "four", None, None, "web", None), 5)

            yield Record(b"abcde", number, outcome)

    sampler = Sampler(Sample(4), DIGEST)
    passed = [item.outcome() if isinstance(item, Record) else item for item in sampler.of(records())]
    chosen = taken(4, records=40)
    assert read == [number for number in chosen if number % 10 != 9]
    assert len(passed) == len(chosen) == 10
    measures = sampler.measures
    assert measures["found/3"] == 36 and measures["found/2"] == 4
    assert measures["taken/3"] + measures.get("taken/2", 0) == 10
    documents = sum(isinstance(item, Kept) for item in passed)
    assert measures["documents/3"] == documents and measures["text_bytes/3"] == 4 * documents


def test_what_gives_no_record_is_no_part_of_a_sample() -> None:
    made: list[Found] = [item for number in range(8) for item in (Underway(), Dropped(str(number), 1, ""))]
    passed = [*Sampler(Sample(4), DIGEST).of(made)]
    assert [item.reason for item in passed if isinstance(item, Dropped)] == [*map(str, taken(4, records=8))]
    assert passed.count(Underway()) == 8


def test_a_source_reads_a_sample_under_a_key_of_its_own(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f'{{"text": "line {number}"}}\n' for number in range(100)))
    files = take_inventory(lake, [str(path)]).files
    configured = ConfiguredStage(read_json_lines, read_json_lines.config.model_validate({"source": "web"}))
    whole, sampled = SourcePlan(configured, files), SourcePlan(configured, files, Sample(10))
    # What keys were before there were samples.
    assert whole.keys == [key_of({"identity": configured.identity, "inputs": [[files[0].name, files[0].sha256]]})]
    assert sampled.keys != whole.keys
    [manifest] = sampled.run(lake, pool, lambda label, done, total: None)
    assert manifest.account.rows_in == manifest.account.kept == manifest.rows == 10
    assert sum(count for name, count in manifest.account.measures.items() if name.startswith("found/")) == 100
    [manifest] = whole.run(lake, pool, lambda label, done, total: None)
    assert manifest.rows == 100 and not manifest.account.measures
