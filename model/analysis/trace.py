"""From a step of a run to its documents, and from a document to the steps that read it.

Step N is the N-th update, counted from 1; it read batch N - 1. The checkpoint of step N has therefore seen the batches
0 … N - 1, and the checkpoint of step 0 none. Pythia's `utils/batch_viewer.py` counts batches in the same way.
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
    """The part of a document within a sequence.

    `document` is its number in the source. The tokens [start, start + tokens) of the sequence are the
    tokens [offset, offset + tokens) of the document. `size` counts its tokens, including the end-of-document token.
    """

    source: str
    document: int
    start: int
    tokens: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A sequence that holds part of a document, and the step that read it."""

    step: int
    sequence: int
    spans: tuple[DocumentSpan, ...]


class Steps:
    """The sequences of each step, past or future, by the run's course; recorded steps are checked by their digests.

    `until` is the last step to consider; it counts as taken even without a record. None means the last recorded step.
    """

    def __init__(
        self, order: Order, course: Course, records: Sequence[StepRecord] = (), until: int | None = None
    ) -> None:
        self.order, self.course = order, course
        self._records = {record.step: record for record in records}
        self.last: int = max(self._records, default=course.begins[0]) if until is None else until

    @property
    def past(self) -> int:
        """One past the last sequence that was read or skipped."""
        return self.course.next_sequence(self.last)

    def sequences(self, step: int) -> tuple[int, ...]:
        """The sequences of step `step`, ascending; for a future step, as the events so far determine them.

        Raises IndexError for a step below 1 or a step of the run that this one continues. Raises Corrupt when the
        recorded digest differs: the token files, the order or the events are then not those of the run.
        """
        begin, _ = self.course.begins
        if step < 1:
            raise IndexError(f"step {step}: steps are counted from 1; give a step of at least 1")
        if step <= begin:
            raise IndexError(
                f"step {step}: this run continues from step {begin} of another run; trace that run instead"
            )
        sequences = self.course.at(step - 1).sequences
        record = self._records.get(step)
        if record is not None and not _took(self.order, record, sequences):
            raise Corrupt(
                f"step {step} read other data than the {len(sequences)} sequences from {sequences[0]} to "
                f"{sequences[-1]} that this order and the recorded events give; restore the run's own token files and "
                "events"
            )
        return sequences

    def step_of(self, sequence: int) -> int | None:
        """The step that read a sequence; None when it was skipped or not yet read. Raises as `sequences` does."""
        before = self.course.step_of(sequence)
        if before is None or before >= self.last:
            return None
        self.sequences(before + 1)
        return before + 1

    def skipped(self, step: int) -> str | None:
        """Why the update of a step was skipped, so that its data did not train the model; None when it was applied."""
        record = self._records.get(step)
        return record.cause if record is not None and record.skipped else None


def steps_of_run(lake: Lake, run: str, order: Order, course: Course, until: int | None = None) -> Steps:
    """The steps of a run by its records and its `course`, which includes all events; `until` as in `Steps`.

    Raises Corrupt when a record is missing, or when the digest of the last record differs.
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
    """The documents of a sequence with their spans, in the order of the sequence.

    Raises IndexError outside the order.
    """
    location = order.locate(sequence)
    starts = order.file(location.source).document_starts
    found: list[DocumentSpan] = []
    place = 0
    for first, count in location.spans:
        past = first + count
        # Of several documents that begin at this token, only the last is not empty.
        document = int(np.searchsorted(starts, first, "right")) - 1
        while first < past:
            begin, end = int(starts[document]), int(starts[document + 1])
            tokens = min(end, past) - first
            if tokens:
                found.append(DocumentSpan(location.source, document, place, tokens, first - begin, end - begin))
            place, first, document = place + tokens, first + tokens, document + 1
    return found


def steps_that_read(steps: Steps, source: str, document: int) -> list[Sighting]:
    """Every sequence read so far that holds part of a document, with its step.

    Inverts the order, from the document's tokens to their sequences, instead of searching the run. Raises IndexError
    when there is no such document, and Corrupt as `Steps.sequences` does.
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
    """The step that a run with this last record has reached.

    If a recorded rollback has undone the record, that is the step to return to. The lake is in this state after the
    rollback's event was written, until this launch or a later one has rolled back.
    """
    for number, event in enumerate(course.events):
        if isinstance(event, Rollback) and event.step < record.step:
            given_up = Course(course.batch, course.events[:number], course.begins, course.inherited)
            if _took(order, record, given_up.at(record.step - 1).sequences):
                return event.step
    return record.step
