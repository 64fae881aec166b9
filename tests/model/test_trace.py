"""Tracing: from steps to documents and back, in every order, and against what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.analysis.trace import Steps, documents_in, steps_of_run, steps_that_read
from model.observers.losses import Losses
from model.observers.records import StepRecord
from model.order import DataOrder, MixtureSource, NeoxOrder, Order, RowOrder, sequences_digest
from model.run.events import Course, Event, Rollback, SkipData
from model.run.events import record as record_event
from tests.model.support.small_tokens import counting_file, source

BATCH = 8
SIZES = [7, 300, 1, 1, 52, 90, 13, 600, 4]


def record(order: Order, step: int, sequences: Sequence[int]) -> StepRecord:
    """The line of a step that took these sequences; other values are of no matter here."""
    digest = sequences_digest(order.fingerprint, order.seed, sequences)
    return StepRecord(step, 0.0, 0.0, 0.0, 0, digest, sequences[0], 0.0)


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
    """The inverse against a look at every sequence of the run, with stretches of data left out after step 9."""
    course = Course(BATCH, [SkipData(9, "bad", "me", 70, 86), SkipData(12, "bad", "me", 115, 118)])
    steps = Steps(order, course, [record(order, step, course.at(step - 1).sequences) for step in range(1, 21)])
    seen: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for step in range(1, 21):
        for sequence in steps.sequences(step):
            for name, document in {(span.source, span.document) for span in documents_in(order, sequence)}:
                seen.setdefault((name, document), []).append((step, sequence))
    for name in {name for name, _ in seen}:
        for document in range(order.file(name).documents):
            found = steps_that_read(steps, name, document)
            assert [(one.step, one.sequence) for one in found] == seen.get((name, document), [])
            for one in found:
                assert one.spans == tuple(s for s in documents_in(order, one.sequence) if s.document == document)
    with pytest.raises(IndexError, match="there is no 999"):
        steps_that_read(steps, "a", 999)


def test_empty_documents_are_in_no_sequence(tmp_path: Path) -> None:
    file = counting_file(tmp_path / "full", [40, 9, 120])
    starts = [0, 0, 40, 40, 40, 49, 169, 169]
    file.document_starts = np.array(starts)  # as another writer's index may have them
    order = DataOrder([MixtureSource("a", 1.0, 9, "x", file)], 16, 1)
    spans = [span for sequence in range(order.windows[0]) for span in documents_in(order, sequence)]
    assert {span.document for span in spans} == {1, 4, 5}


@pytest.fixture
def native(tmp_path: Path) -> DataOrder:
    return DataOrder([source(tmp_path, SIZES)], 16, 1)


class World:
    """A run in a lake, with its records and events."""

    def __init__(self, folder: Path, order: Order, begins: tuple[int, int] = (0, 0)) -> None:
        self.lake, self.order = Lake.open(str(folder / "lake")), order
        self.course = Course(BATCH, (), begins)

    def event(self, event: Event) -> None:
        self.course = record_event(self.lake, "run", "launch", self.course, event)

    def took(self, *steps: int, commit: bool = True) -> None:
        losses = Losses(self.lake, "run")
        for step in steps:
            losses.on_step_end(record(self.order, step, self.course.at(step - 1).sequences))
        if commit:
            losses.commit(steps[-1])
        else:
            losses.flush()

    def steps(self, until: int | None = None) -> Steps:
        return steps_of_run(self.lake, "run", self.order, self.course, until)


def test_steps_count_from_one_and_plan_ahead(tmp_path: Path, native: DataOrder) -> None:
    world = World(tmp_path, native)
    assert world.steps().sequences(3) == tuple(range(16, 24)) and world.steps().step_of(0) is None
    world.event(SkipData(2, "bad", "me", 16, 40))
    world.event(SkipData(4, "bad", "me", 60, 61))
    world.took(1, 2)
    world.took(3, commit=False)
    steps = world.steps()
    assert [steps.sequences(step)[0] for step in (1, 3, 4, 6)] == [0, 40, 48, 65]
    assert steps.sequences(5) == (56, 57, 58, 59, 61, 62, 63, 64)
    assert [steps.step_of(sequence) for sequence in (0, 15, 16, 39, 40, 47, 48)] == [1, 2, None, None, 3, 3, None]
    assert (steps.last, steps.past) == (3, 48)
    with pytest.raises(IndexError, match="counted from 1"):
        steps.sequences(0)


def test_a_step_may_take_what_lies_apart(tmp_path: Path, native: DataOrder) -> None:
    world = World(tmp_path, native)
    world.event(SkipData(3, "bad", "me", 44, 50))
    world.took(*range(1, 8))
    steps = world.steps()
    assert steps.sequences(6) == (40, 41, 42, 43, 50, 51, 52, 53) and steps.sequences(7) == tuple(range(54, 62))
    assert [steps.step_of(sequence) for sequence in (43, 44, 49, 50, 54)] == [6, None, None, 6, 7]


def test_other_data_than_what_is_on_record_is_found(tmp_path: Path, native: DataOrder) -> None:
    world = World(tmp_path, native)
    world.took(1, 2, 3, 4)
    assert world.steps().last == 4 and world.steps().sequences(4) == tuple(range(24, 32))
    with pytest.raises(Corrupt, match="step 4 read other data"):
        steps_of_run(world.lake, "run", DataOrder(native.sources, 16, 1, "blocks"), world.course)
    world.event(SkipData(2, "of another run", "me", 20, 22))
    with pytest.raises(Corrupt, match="step 4 read other data"):
        world.steps()


def test_a_missing_record_is_told(tmp_path: Path, native: DataOrder) -> None:
    world = World(tmp_path, native)
    world.took(1, 3)
    with pytest.raises(Corrupt, match="step 3 follows step 1"):
        world.steps()


def test_a_run_that_goes_on_from_another(tmp_path: Path, native: DataOrder) -> None:
    world = World(tmp_path, native, begins=(5, 43))
    assert world.steps().last == 5 and world.steps().sequences(6) == tuple(range(43, 51))
    world.event(SkipData(6, "bad", "me", 51, 72))
    world.took(6, 7)
    steps = world.steps()
    assert [steps.sequences(step)[0] for step in (6, 7, 8)] == [43, 72, 80] and steps.last == 7
    assert [steps.step_of(sequence) for sequence in (8, 42, 43, 51, 72)] == [None, None, 6, None, 7]
    with pytest.raises(IndexError, match="step 5 of another"):
        steps.sequences(3)
    assert world.steps(until=6).last == 6 and world.steps(until=6).step_of(72) is None


def test_steps_that_a_rollback_has_undone_are_not_told_as_taken(tmp_path: Path, native: DataOrder) -> None:
    """Killed between the rollback's event and its going back: the records of the undone steps are still there."""
    world = World(tmp_path, native)
    world.event(SkipData(1, "bad", "me", 9, 12))
    world.took(1, 2, 3, 4)
    world.took(5, 6, commit=False)
    world.event(world.course.roll_back(6, 4, 1.0, "high"))
    assert isinstance(world.course.events[-1], Rollback)
    steps = world.steps()
    assert steps.last == 4 and steps.step_of(40) is None and steps.sequences(5)[0] == 8 * 7 + 3
    # The launch that comes back removes them, and takes the steps anew.
    Losses(world.lake, "run").begin(4)
    world.took(5, 6)
    assert world.steps().last == 6 and world.steps().step_of(8 * 7 + 3) == 5


def test_an_update_that_was_dropped_is_told(tmp_path: Path, native: DataOrder) -> None:
    taken = [record(native, 1, range(8)), replace(record(native, 2, range(8, 16)), skipped=True, cause="too high")]
    steps = Steps(native, Course(BATCH), taken)
    assert [steps.skipped(step) for step in (1, 2, 3)] == [None, "too high", None]
