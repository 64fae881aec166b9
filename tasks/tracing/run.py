"""Traces one run: its data order, its steps, and the documents of its tokens, identified by their lineage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.engine.shards import PartReader
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part
from model.analysis.trace import DocumentSpan, Steps, documents_in, steps_of_run, steps_that_read
from model.checkpoints.manifest import committed_steps, read_checkpoint
from model.order import Order, tokens_digest
from model.run.config import read_run
from model.run.data import open_order
from model.run.events import read_events
from tasks.lineage import Lineages, Origin, tokens_with
from tasks.token_artifact import HELD_OUT, VALIDATION, token_files
from tasks.tokenizer import TOKENIZER_FILE, read_tokenizer
from tasks.tracing.byte_spans import ByteSpans

# Suffix of a token file's name → the split of its source that it holds.
APART = {VALIDATION: "validation", HELD_OUT: "evaluation"}


class CannotTrace(ValueError):
    """The run cannot answer the question."""


class TracedRun:
    """A run, or its steps up to `until` if another run continues it from there. Opens large objects on first use.

    Token files outside any artifact have no lineage; their documents have numbers only. Raises NotThere if there is no
    such run.
    """

    def __init__(self, lake: Lake, run: str, cache: Path, until: int | None = None) -> None:
        self.lake, self.cache, self.until = lake, cache, until
        self.config = read_run(lake, run)
        self._reader = PartReader(lake, cache)

    def parent(self) -> TracedRun:
        """The run that this run continues, up to the step where it does.

        Raises NotThere if that run is no longer in the lake. Raises Corrupt if it no longer has the checkpoint: it was
        rolled back since, and its records no longer tell what the earlier steps read.
        """
        origin = self.config.origin
        assert origin is not None, "only for a run that continues another"
        found = TracedRun(self.lake, origin.run, self.cache, origin.step)
        kept = origin.step in committed_steps(self.lake, origin.run)
        if not kept or read_checkpoint(self.lake, origin.run, origin.step).digest != origin.digest:
            raise Corrupt(
                f"the run {origin.run[:12]} no longer has the checkpoint at step {origin.step:,} from which the run "
                f"{self.config.key[:12]} started, so its records may describe other steps"
            )
        return found

    @cached_property
    def order(self) -> Order:
        """The data order. Raises CannotTrace if it cannot be built; such a run has read nothing."""
        try:
            return open_order(self.lake, self.config, self.cache)
        except ValueError as error:
            raise CannotTrace(f"the run {self.config.key[:12]} cannot read its data: {error}") from error

    @cached_property
    def steps(self) -> Steps:
        """The steps of the run. Raises Corrupt as `steps_of_run` does."""
        course = self.config.course(read_events(self.lake, self.config.key))
        return steps_of_run(self.lake, self.config.key, self.order, course, self.until)

    @cached_property
    def tokens(self) -> Manifest | None:
        """The artifact that contains the run's token files, in their order."""
        wanted = {source.name: [file.bin.sha256 for file in source.files] for source in self.config.sources}
        for manifest in tokens_with(self.lake, [part.sha256 for part in self.config.files]):
            found = token_files(manifest)
            if all([file.bin.sha256 for file in found.get(name, [])] == files for name, files in wanted.items()):
                return manifest
        return None

    def step(self, step: int) -> dict[str, Any]:
        """The data of a step: its sequences with their documents and spans. Raises CannotTrace as `sequences` does."""
        sequences = self.sequences(step)
        spans = {sequence: documents_in(self.order, sequence) for sequence in sequences}
        known = self._origins(span for found in spans.values() for span in found)
        return {
            **self.facts(step, sequences),
            "sequences": [self._sequence(sequence, spans[sequence], known) for sequence in sequences],
        }

    def facts(self, step: int, sequences: tuple[int, ...]) -> dict[str, Any]:
        """The facts of every step: `tokens_sha256` is of all its tokens; `skipped` is why its update was dropped."""
        return {
            "run": self.config.key,
            "step": step,
            "batch": step - 1,
            "taken": step <= self.steps.last,
            "skipped": self.steps.skipped(step),
            "tokens_sha256": tokens_digest(self.order, sequences),
        }

    def sequences(self, step: int) -> tuple[int, ...]:
        """The sequences of a step. Raises CannotTrace when the run has no such step."""
        steps, name = self.config.training.steps, self.config.key[:12]
        if not 1 <= step <= steps:
            raise CannotTrace(
                f"there is no step {step}: the run {name} has {steps} steps, whose batches are 0 to {steps - 1}"
            )
        sequences = self.steps.sequences(step)
        if sequences[-1] >= self.order.sequences:
            raise CannotTrace(
                f"the run {name} cannot take step {step}: with the skipped data it would read sequence "
                f"{sequences[-1]}, but the order has {self.order.sequences}; allow more epochs or fewer steps"
            )
        return sequences

    def documents(self, name: str) -> list[dict[str, Any]]:
        """The documents with this id or URL, and the steps that read each of them, with the spans read.

        Raises CannotTrace if no lineage identifies the documents of the token files.
        """
        if self.tokens is None:
            raise CannotTrace(
                f"the token files of the run {self.config.key[:12]} belong to no artifact of this lake, so their "
                "documents are unknown"
            )
        return [
            {
                "run": self.config.key,
                "source": source,
                "split": split,
                "document": number,
                **asdict(origin),
                "steps": self._sightings(source, number) if split == "training" else [],
            }
            for source, split, lineages in self._lineages()
            for number, origin in lineages.named(name)
        ]

    def _sightings(self, source: str, document: int) -> list[dict[str, Any]]:
        return [
            {
                "run": self.config.key,
                "step": sighting.step,
                "batch": sighting.step - 1,
                "skipped": self.steps.skipped(sighting.step),
                "sequence": sighting.sequence,
                "spans": [{**asdict(span), "bytes": self._bytes_of(span)} for span in sighting.spans],
            }
            for sighting in steps_that_read(self.steps, source, document)
        ]

    def _sequence(
        self, sequence: int, spans: list[DocumentSpan], known: dict[tuple[str, int], Origin]
    ) -> dict[str, Any]:
        location = self.order.locate(sequence)
        documents = []
        for span in spans:
            origin = known.get((span.source, span.document))
            id, url = (None, None) if origin is None else (origin.id, origin.url)
            documents.append({"id": id, "url": url, **asdict(span), "bytes": self._bytes_of(span)})
        return {
            "sequence": sequence,
            "source": location.source,
            "epoch": location.epoch,
            "window": location.window,
            "documents": documents,
        }

    @cached_property
    def _bytes(self) -> ByteSpans | None:
        tokenizer = self._parts.get(TOKENIZER_FILE)
        return None if tokenizer is None else ByteSpans(read_tokenizer(self._reader.path(tokenizer)))

    def _bytes_of(self, span: DocumentSpan) -> list[int] | None:
        if self._bytes is None:
            return None
        document = self.order.file(span.source).document(span.document)
        found = self._bytes.span(document, span.offset, span.offset + span.tokens)
        return None if found is None else list(found)

    @property
    def _parts(self) -> dict[str, Part]:
        return {} if self.tokens is None else {part.name: part for part in self.tokens.parts}

    def _origins(self, spans: Iterable[DocumentSpan]) -> dict[tuple[str, int], Origin]:
        wanted: dict[str, set[int]] = {}
        for span in spans:
            wanted.setdefault(span.source, set()).add(span.document)
        lineages = {source: found for source, split, found in self._lineages() if split == "training"}
        return {
            (source, number): origin
            for source, numbers in wanted.items()
            if source in lineages
            for number, origin in lineages[source].origins(numbers, self.order.file(source).file_documents).items()
        }

    def _lineages(self) -> Iterator[tuple[str, str, Lineages]]:
        """The source, split and lineages of the run's own tokens, and of those split off from its sources."""
        if self.tokens is None:
            return
        read = {source.name for source in self.config.sources}
        for suffix, split in {"": "training", **APART}.items():
            for source, files in token_files(self.tokens, suffix).items():
                parts = [file.lineage for file in files if file.lineage is not None]
                if len(parts) == len(files) and (split != "training" or source in read):
                    yield source, split, Lineages(parts, self._reader)
