"""From a step of a run to its documents, and from a document to the steps that read it.

Step N is the N-th update, counted from 1; it read batch N - 1. So the checkpoint of step N has seen the batches 0 …
N - 1, and that of step 0 none: Pythia's `utils/batch_viewer.py` counts its batches in the same way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.losses import read_losses
from model.order import Order, sequences_digest


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
    """Which sequences each step took: those on record, and from there on the ones that are to follow.

    `taken` holds the range of every step after `origin`, which is 0, or the step of another run that this one goes on
    from. The ranges rise, and where data was skipped they leave gaps. Raises ValueError when they do not rise.
    """

    def __init__(self, taken: Sequence[range], batch: int, origin: int = 0) -> None:
        self._taken, self._batch, self.origin = list(taken), batch, origin
        self._starts = [sequences.start for sequences in self._taken]
        for number, (one, following) in enumerate(pairwise(self._taken), start=origin + 1):
            if one.stop > following.start:
                raise ValueError(f"step {number} took {one} and step {number + 1} {following}: they overlap")

    @property
    def last(self) -> int:
        """The last step on record; `origin` when there is none."""
        return self.origin + len(self._taken)

    @property
    def past(self) -> int:
        """One past the last sequence that was read."""
        return self._taken[-1].stop if self._taken else 0

    def sequences(self, step: int) -> range:
        """The sequences of step `step`; of one that is yet to come, those it reads unless data is skipped before it.

        Raises IndexError for a step below 1, one of the run that this one goes on from, and in a run that goes on from
        another and has no step on record.
        """
        if step < 1:
            raise IndexError(f"step {step}: steps are counted from 1, and step N read batch N - 1")
        if step <= self.origin:
            raise IndexError(
                f"step {step}: this run goes on from step {self.origin} of another, which took it; trace that run"
            )
        if step <= self.last:
            return self._taken[step - self.origin - 1]
        if self.origin and not self._taken:
            raise IndexError(f"step {step}: this run goes on from another and has taken no step yet")
        first = self.past + (step - 1 - self.last) * self._batch
        return range(first, first + self._batch)

    def step_of(self, sequence: int) -> int | None:
        """The step that read a sequence; None when none has, as when it was skipped."""
        number = bisect_right(self._starts, sequence)
        return self.origin + number if number and sequence < self._taken[number - 1].stop else None


def steps_of_run(lake: Lake, run: str, order: Order, batch: int, origin: int = 0) -> Steps:
    """The steps of a run by its records; `origin` as in `Steps`.

    The digest of each step's sequences is computed again. Raises Corrupt when a record is missing or when its digest is
    of other data: the token files, or the order, are then not those that the run read.
    """
    taken: list[range] = []
    for record in read_losses(lake, run):
        sequences = range(record.first_sequence, record.first_sequence + batch)
        before = origin + len(taken)
        if record.step != before + 1:
            raise Corrupt(
                f"{lake.uri}/runs/{run}/losses: step {record.step} follows step {before}; the steps between have "
                "no record, so resume the run from a checkpoint before them"
            )
        if record.sequences != sequences_digest(order.fingerprint, order.seed, sequences):
            raise Corrupt(
                f"{lake.uri}/runs/{run}/losses: step {record.step} read other data than the sequences "
                f"{sequences.start} to {sequences.stop - 1} of this order; the token files are not those of the run"
            )
        taken.append(sequences)
    return Steps(taken, batch, origin)


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


def steps_that_read(order: Order, steps: Steps, source: str, document: int) -> list[Sighting]:
    """Every sequence read so far that holds some of a document, by step. Raises IndexError when there is none such.

    The order is asked backwards, from the document's tokens to their sequences: the run is not searched.
    """
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
