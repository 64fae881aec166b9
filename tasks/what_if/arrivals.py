"""Documents that a changed recipe would keep and a build did not: their text, and the tokens that they would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.engine.shards import PartReader
from infra.engine.units import Shard
from infra.store.manifest import Manifest
from infra.tables import read_table
from tasks.encoding.encoder import Encoder
from tasks.encoding.forms import open_files
from tasks.report.judged import BuildParts
from tasks.tokenizer import SENTENCEPIECE_FILE, TOKENIZER_FILE

# Some ten seconds of encoding. A change that lets in more is told in tokens that are estimated from this much.
ENCODED_BYTES = 128 << 20


class Arrivals:
    """Counts the tokens of documents that come in, with the tokenizer of a build.

    `edits` are the steps that change the text, by source, in order. Beyond `most_bytes` of text, tokens are estimated
    from those that were counted; `estimated` counts them.
    """

    def __init__(
        self,
        reader: PartReader,
        encoder: Encoder,
        edits: Mapping[str, Sequence[str]],
        most_bytes: int = ENCODED_BYTES,
    ) -> None:
        self.estimated = 0
        self._reader, self._encoder, self._edits, self._most = reader, encoder, edits, most_bytes
        self._bytes = self._tokens = 0

    def tokens(self, source: str, shard: int, rows: np.ndarray, build: BuildParts) -> np.ndarray:
        """The tokens of these rows of a shard, with the one that ends a document: int64.

        `build` has the verdicts of the changed recipe.
        """
        if not rows.size:
            return np.empty(0, np.int64)
        if self._bytes < self._most:
            texts = self.texts(source, shard, rows, build)
            counted = np.array([ids.size + 1 for ids in self._encoder.encode(texts)], np.int64)
            self._bytes += int(pc.sum(pc.binary_length(texts)).as_py() or 0)
            self._tokens += int(counted.sum())
            return counted
        content = build.documents(source).parts[shard].content
        rules = read_table(self._reader.path(build.part(source, "rules", shard)), ["length"], about=content)
        lengths = rules["length"].to_numpy()[rows]
        guessed = np.maximum(1, np.rint(lengths * (self._tokens / max(1, self._bytes)))).astype(np.int64)
        self.estimated += int(guessed.sum())
        return guessed

    def texts(self, source: str, shard: int, rows: np.ndarray, build: BuildParts) -> pa.Array:
        """The texts of these rows of a shard, with all edits applied."""
        edits = tuple(build.part(source, step, shard) for step in self._edits[source])
        table = self._reader.whole(Shard(build.documents(source).parts[shard], edits, ()), ["text"])
        return table["text"].take(pa.array(rows)).combine_chunks()


def encoder_of(reader: PartReader, tokens: Manifest, summary: Mapping[str, Any]) -> Encoder:
    """The encoder of a build's tokenizer; `summary` is that of its tokens."""
    files: dict[str, Path] = {
        part.name: reader.path(part) for part in tokens.parts if part.name in (TOKENIZER_FILE, SENTENCEPIECE_FILE)
    }
    return Encoder(open_files(files, summary["end_of_document"]))
