"""From a step of a run to its documents, and from a document to the steps that read it.

Step N is the N-th update, counted from 1; it read batch N - 1. So the checkpoint of step N has seen the batches 0 …
N - 1, and that of step 0 none: Pythia's `utils/batch_viewer.py` counts its batches in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.observers.losses import read_losses
from model.observers.records import StepRecord
from model.order import Order, sequences_digest
from model.run.events import Course, Rollback


@dataclass(frozen=True, slots=True)
class DocumentSpan:
    """A stretch of a document within a sequence.

    `document` is its number in the source's token file. The tokens [start, start + tokens) of the sequence are the
    tokens [offset, offset + tokens) of the document, which has `size`, its end-of-document token included.
    """

    source: str
    document: int
    start: int
    tokens: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A sequence that holds some of a document, and the step that read it."""

    step: int
    sequence: int
    spans: tuple[DocumentSpan, ...]


class Steps:
    """Which sequences each step took, or will take, by the run's course; for those on record their digests vouch.

    `until` is the last step of interest, which was taken whatever is on record; None for all that are on record.
    """

    def __init__(
        self, order: Order, course: Course, records: Sequence[StepRecord] = (), until: int | None = None
    ) -> None:
        self.order, self.course = order, course
        self._records = {record.step: record for record in records}
        self.last: int = max(self._records, default=course.begins[0]) if until is None else until

    @property
    def past(self) -> int:
        """One past the last sequence that was read or left out."""
        return self.course.next_sequence(self.last)

    def sequences(self, step: int) -> tuple[int, ...]:
        """The sequences of step `step`, rising; of one that is yet to come, as the events so far have it.

        Raises IndexError for a step below 1 or of a run that this one goes on from, and Corrupt when the record has
        the digest of other data: the token files, the order or the events are then not those that the run read.
        """
        begin, _ = self.course.begins
        if step < 1:
            raise IndexError(f"step {step}: steps are counted from 1, and step N read batch N - 1")
        if step <= begin:
            raise IndexError(f"step {step}: this run goes on from step {begin} of another, which took it")
        sequences = self.course.at(step - 1).sequences
        record = self._records.get(step)
        if record is not None and not _took(self.order, record, sequences):
            raise Corrupt(
                f"step {step} read other data than the {len(sequences)} sequences from {sequences[0]} to "
                f"{sequences[-1]} that this order and the recorded events give it; the token files or the events are "
                "not those of the run"
            )
        return sequences

    def step_of(self, sequence: int) -> int | None:
        """The step that read a sequence; None when none has, as when it was left out. Raises as `sequences` does."""
        before = self.course.step_of(sequence)
        if before is None or before >= self.last:
            return None
        self.sequences(before + 1)
        return before + 1

    def skipped(self, step: int) -> str | None:
        """Why the update of a step was dropped, so that its data taught the model nothing; None when it was not."""
        record = self._records.get(step)
        return record.cause if record is not None and record.skipped else None


def steps_of_run(lake: Lake, run: str, order: Order, course: Course, until: int | None = None) -> Steps:
    """The steps of a run by its records and its `course`, all events of it included; `until` as in `Steps`.

    Raises Corrupt when a record is missing, and, as `Steps.sequences` does, when the last one is of other data.
    """
    records = read_losses(lake, run)
    if records and until is None:
        reached = _reached(order, course, records[-1])
        records = [record for record in records if record.step <= reached]
    for before, record in enumerate(records, start=course.begins[0]):
        if record.step != before + 1:
            raise Corrupt(
                f"{lake.uri}/runs/{run}/losses: step {record.step} follows step {before}; the steps between have "
                "no record, so resume the run from a checkpoint before them"
            )
    steps = Steps(order, course, records, until)
    if records:
        steps.sequences(steps.last)
    return steps


def documents_in(order: Order, sequence: int) -> list[DocumentSpan]:
    """The documents of a sequence with their spans, in the order in which it holds them.

    Raises IndexError outside the order.
    """
    location = order.locate(sequence)
    starts = order.file(location.source).document_starts
    found: list[DocumentSpan] = []
    place = 0
    for first, count in location.spans:
        past = first + count
        # The last of several that begin at a token: those before it are empty.
        document = int(np.searchsorted(starts, first, "right")) - 1
        while first < past:
            begin, end = int(starts[document]), int(starts[document + 1])
            tokens = min(end, past) - first
            if tokens:
                found.append(DocumentSpan(location.source, document, place, tokens, first - begin, end - begin))
            place, first, document = place + tokens, first + tokens, document + 1
    return found


def steps_that_read(steps: Steps, source: str, document: int) -> list[Sighting]:
    """Every sequence read so far that holds some of a document, by step. Raises IndexError when there is none such.

    The order is asked backwards, from the document's tokens to their sequences: the run is not searched. Raises Corrupt
    as `Steps.sequences` does.
    """
    order = steps.order
    file = order.file(source)
    if not 0 <= document < file.documents:
        raise IndexError(f"source {source} has {file.documents} documents, numbered from 0; there is no {document}")
    sightings = []
    for sequence in order.holding(source, *file.document_span(document), steps.past):
        step = steps.step_of(sequence)
        if step is not None:
            spans = tuple(span for span in documents_in(order, sequence) if span.document == document)
            sightings.append(Sighting(step, sequence, spans))
    return sightings


def _took(order: Order, record: StepRecord, sequences: Sequence[int]) -> bool:
    return record.sequences == sequences_digest(order.fingerprint, order.seed, sequences)


def _reached(order: Order, course: Course, record: StepRecord) -> int:
    """How far a run is whose last record is this one: where it is to go back to, if a rollback has undone the record.

    So it stands in the lake from a rollback's event until the launch, or one after it, has gone back.
    """
    for number, event in enumerate(course.events):
        if isinstance(event, Rollback) and event.step < record.step:
            given_up = Course(course.batch, course.events[:number], course.begins, course.inherited)
            if _took(order, record, given_up.at(record.step - 1).sequences):
                return event.step
    return record.step
