"""What a run read: its order, its steps, and the identities of documents from the lineage of its tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.engine.shards import PartReader
from infra.runs import find_run
from infra.store.errors import NotThere
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part
from model.order import Order, tokens_digest, write_rows
from model.run import RunConfig, open_order, read_run
from model.trace import DocumentSpan, Steps, documents_in, steps_of_run, steps_that_read
from tasks.byte_spans import ByteSpans
from tasks.lineage import LINEAGE_SUFFIX, Origin, document_of, origins, tokens_with
from tasks.tokenizer import TOKENIZER_FILE, load_tokenizer
from tasks.tokens import HELD_OUT, VALIDATION


class CannotTrace(ValueError):
    """A question that the run has no answer to."""


class Tracer:
    """Answers about one run. Token files that are of no artifact have no lineage: their documents are then numbers."""

    def __init__(
        self, config: RunConfig, order: Order, steps: Steps, tokens: Manifest | None, reader: PartReader
    ) -> None:
        self.config, self.order, self.steps = config, order, steps
        self._parts = {part.name: part for part in tokens.parts} if tokens is not None else {}
        self._reader = reader
        tokenizer = self._parts.get(TOKENIZER_FILE)
        self._bytes = None if tokenizer is None else ByteSpans(load_tokenizer(reader.path(tokenizer)))

    @classmethod
    def open(cls, lake: Lake, run: str, cache: Path) -> Tracer:
        """The run whose key starts with `run`. Raises StoreError when there is none, or several."""
        key = find_run(lake, run)
        config = read_run(lake, key)
        order = open_order(lake, config, cache)
        origin = 0 if config.origin is None else config.origin.step
        steps = steps_of_run(lake, key, order, config.training.batch, origin)
        tokens = tokens_with(lake, [source.bin.sha256 for source in config.sources])
        return cls(config, order, steps, tokens, PartReader(lake, cache))

    def step(self, step: int) -> dict[str, Any]:
        """The sequences of a step, their documents and spans, and the digest of all its tokens.

        Raises CannotTrace when the run has no such step.
        """
        sequences = self._sequences(step)
        spans = {sequence: documents_in(self.order, sequence) for sequence in sequences}
        known = self._origins(span for found in spans.values() for span in found)
        return {
            "run": self.config.key,
            "step": step,
            "batch": step - 1,
            "taken": step <= self.steps.last,
            "tokens_sha256": tokens_digest(self.order, sequences),
            "sequences": [self._sequence(sequence, spans[sequence], known) for sequence in sequences],
        }

    def document(self, name: str) -> dict[str, Any]:
        """The steps that have read the document with this id or URL, with the spans that they read.

        Raises NotThere when the tokens of the run hold no such document.
        """
        source, split, number, lineage = self._find(name)
        origin = origins(self._reader.path(lineage), [number])[number]
        training = split == "training"
        sightings = steps_that_read(self.order, self.steps, source, number) if training else []
        steps = [
            {
                "step": sighting.step,
                "batch": sighting.step - 1,
                "sequence": sighting.sequence,
                "spans": [{**asdict(span), "bytes": self._bytes_of(span)} for span in sighting.spans],
            }
            for sighting in sightings
        ]
        return {
            "run": self.config.key,
            "source": source,
            "split": split,
            "document": number,
            **asdict(origin),
            "taken": self.steps.last,
            "steps": steps,
        }

    def write_batch(self, batch: int, path: Path) -> dict[str, Any]:
        """Write batch `batch`, counted from 0, token for token as step `batch` + 1 read it.

        Raises CannotTrace when the run has no such batch, or the file's name does not end in .npy, .bin or .idx.
        """
        sequences = self._sequences(batch + 1)
        if path.suffix not in (".npy", ".bin", ".idx"):
            raise CannotTrace(f"{path}: give a name that ends in .npy, or in .bin for a pair of .bin and .idx")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(self.order, sequences, path, self.config.model.vocabulary)
        files = [path] if path.suffix == ".npy" else [path.with_suffix(".bin"), path.with_suffix(".idx")]
        return {
            "run": self.config.key,
            "batch": batch,
            "step": batch + 1,
            "taken": batch < self.steps.last,
            "sequences": list(sequences),
            "tokens_sha256": tokens_digest(self.order, sequences),
            "files": [str(file) for file in files],
        }

    def _sequences(self, step: int) -> range:
        steps = self.config.training.steps
        try:
            sequences = self.steps.sequences(step)
        except IndexError as error:
            raise CannotTrace(str(error)) from error
        if step > steps or sequences.stop > self.order.sequences:
            raise CannotTrace(
                f"there is no step {step}: the run {self.config.key[:12]} has {steps} steps, whose batches are 0 to "
                f"{steps - 1}, and its order {self.order.sequences} sequences"
            )
        return sequences

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

    def _bytes_of(self, span: DocumentSpan) -> list[int] | None:
        if self._bytes is None:
            return None
        document = self.order.file(span.source).document(span.document)
        found = self._bytes.span(document, span.offset, span.offset + span.tokens)
        return None if found is None else list(found)

    def _origins(self, spans: Iterable[DocumentSpan]) -> dict[tuple[str, int], Origin]:
        wanted: dict[str, set[int]] = {}
        for span in spans:
            wanted.setdefault(span.source, set()).add(span.document)
        return {
            (source, number): origin
            for source, numbers in wanted.items()
            if (lineage := self._parts.get(f"{source}{LINEAGE_SUFFIX}")) is not None
            for number, origin in origins(self._reader.path(lineage), numbers).items()
        }

    def _find(self, name: str) -> tuple[str, str, int, Part]:
        """The source, split, number and lineage of the document called `name`."""
        splits = {"training": "", "validation": VALIDATION, "evaluation": HELD_OUT}
        for source in self.config.sources:
            for split, suffix in splits.items():
                lineage = self._parts.get(f"{source.name}{suffix}{LINEAGE_SUFFIX}")
                number = None if lineage is None else document_of(self._reader.path(lineage), name)
                if lineage is not None and number is not None:
                    return source.name, split, number, lineage
        raise NotThere(
            f"the tokens of the run {self.config.key[:12]} hold no document with the id or URL {name}; "
            "`millrace explain` tells what became of it"
        )
