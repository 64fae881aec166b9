"""Tracing: from steps to documents and back, in every order, and against what was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.losses import Losses, StepRecord
from model.order import DataOrder, MixtureSource, NeoxOrder, Order, RowOrder, sequences_digest
from model.trace import Steps, documents_in, steps_of_run, steps_that_read
from tests.model.small_tokens import counting_file, source

BATCH = 8
SIZES = [7, 300, 1, 1, 52, 90, 13, 600, 4]


def record(order: Order, step: int, sequences: range) -> StepRecord:
    """The line of a step that took these sequences; other values are of no matter here."""
    digest = sequences_digest(order.fingerprint, order.seed, sequences)
    return StepRecord(step, 0.0, 0.0, 0.0, 0, digest, sequences.start, 0.0)


@pytest.fixture(params=["overlapping", "blocks", "neox", "rows"])
def order(request: pytest.FixtureRequest, tmp_path: Path) -> Order:
    sources = [source(tmp_path, SIZES, "a", 2.0), source(tmp_path, SIZES[::-1], "b", 1.0)]
    if request.param == "neox":
        return NeoxOrder(sources, 16, 1, 300, tmp_path / "cache")
    if request.param == "rows":
        return RowOrder([MixtureSource("a", 1.0, 1, "x", counting_file(tmp_path / "rows", [17] * 240))], 16, 1)
    return DataOrder(sources, 16, 1, request.param)


def test_the_spans_of_a_sequence_are_its_tokens(order: Order) -> None:
    for sequence in range(200):
        spans = documents_in(order, sequence)
        rebuilt: list[int] = []
        for span in spans:
            assert span.start == len(rebuilt)
            document = order.file(span.source).document(span.document)
            assert span.size == len(document)
            rebuilt += document[span.offset : span.offset + span.tokens].tolist()
        assert rebuilt == order.tokens(sequence).tolist()


def test_a_document_s_steps_are_all_that_read_it(order: Order) -> None:
    """The inverse against a look at every sequence of the run, with a stretch of data skipped after step 9."""
    taken = [range(8 * step + (16 if step > 8 else 0), 8 * step + 8 + (16 if step > 8 else 0)) for step in range(20)]
    steps = Steps(taken, BATCH)
    seen: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for step in range(1, 21):
        for sequence in steps.sequences(step):
            for name, document in {(span.source, span.document) for span in documents_in(order, sequence)}:
                seen.setdefault((name, document), []).append((step, sequence))
    for name in {name for name, _ in seen}:
        for document in range(order.file(name).documents):
            found = steps_that_read(order, steps, name, document)
            assert [(one.step, one.sequence) for one in found] == seen.get((name, document), [])
            for one in found:
                assert one.spans == tuple(s for s in documents_in(order, one.sequence) if s.document == document)
    with pytest.raises(IndexError, match="there is no 999"):
        steps_that_read(order, steps, "a", 999)


def test_empty_documents_are_in_no_sequence(tmp_path: Path) -> None:
    file = counting_file(tmp_path / "full", [40, 9, 120])
    starts = [0, 0, 40, 40, 40, 49, 169, 169]
    file.document_starts = np.array(starts)  # as another writer's index may have them
    order = DataOrder([MixtureSource("a", 1.0, 9, "x", file)], 16, 1)
    spans = [span for sequence in range(order.windows[0]) for span in documents_in(order, sequence)]
    assert {span.document for span in spans} == {1, 4, 5}


def test_steps_count_from_one_and_plan_ahead() -> None:
    steps = Steps([range(0, 8), range(8, 16), range(40, 48)], BATCH)
    assert [steps.sequences(step) for step in (1, 3, 4, 6)] == [range(8), range(40, 48), range(48, 56), range(64, 72)]
    assert [steps.step_of(sequence) for sequence in (0, 15, 16, 39, 40, 47, 48)] == [1, 2, None, None, 3, 3, None]
    assert (steps.last, steps.past) == (3, 48)
    assert Steps([], BATCH).sequences(3) == range(16, 24) and Steps([], BATCH).step_of(0) is None
    with pytest.raises(IndexError, match="counted from 1"):
        steps.sequences(0)
    with pytest.raises(ValueError, match="overlap"):
        Steps([range(8), range(4, 12)], BATCH)


def test_steps_come_from_the_records(tmp_path: Path) -> None:
    order = DataOrder([source(tmp_path, SIZES)], 16, 1)
    lake = Lake.open(str(tmp_path / "lake"))
    losses = Losses(lake, "run")
    for step in (1, 2, 3):
        losses.add(record(order, step, range(8 * step - 8, 8 * step)))
    losses.commit(3)
    losses.add(record(order, 4, range(24, 32)))
    losses.write_tail()
    steps = steps_of_run(lake, "run", order, BATCH)
    assert steps.last == 4 and steps.sequences(4) == range(24, 32)
    with pytest.raises(Corrupt, match="step 1 read other data"):
        steps_of_run(lake, "run", DataOrder(order.sources, 16, 1, "blocks"), BATCH)


def test_a_missing_record_is_told(tmp_path: Path) -> None:
    order = DataOrder([source(tmp_path, SIZES)], 16, 1)
    lake = Lake.open(str(tmp_path / "lake"))
    losses = Losses(lake, "run")
    losses.add(record(order, 1, range(8)))
    losses.add(record(order, 3, range(16, 24)))
    losses.commit(3)
    with pytest.raises(Corrupt, match="step 3 follows step 1"):
        steps_of_run(lake, "run", order, BATCH)


def test_skipped_data_and_another_run_s_steps(tmp_path: Path) -> None:
    """A run that goes on from step 5 of another, and then skips data."""
    order = DataOrder([source(tmp_path, SIZES)], 16, 1)
    lake = Lake.open(str(tmp_path / "lake"))
    losses = Losses(lake, "run")
    fresh = steps_of_run(lake, "run", order, BATCH, origin=5)
    with pytest.raises(IndexError, match="taken no step yet"):
        fresh.sequences(6)
    for step, sequences in ((6, range(40, 48)), (7, range(64, 72))):
        losses.add(record(order, step, sequences))
    losses.commit(7)
    steps = steps_of_run(lake, "run", order, BATCH, origin=5)
    assert [steps.sequences(step) for step in (6, 7, 8)] == [range(40, 48), range(64, 72), range(72, 80)]
    assert [steps.step_of(sequence) for sequence in (8, 40, 50, 64)] == [None, 6, None, 7] and steps.last == 7
    with pytest.raises(IndexError, match="step 5 of another"):
        steps.sequences(3)
