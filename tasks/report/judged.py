"""The documents of a build, shard by shard: the results of steps, the outcomes, and the tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.engine.shards import PartReader
from infra.store.errors import Corrupt
from infra.store.manifest import Manifest, Part
from infra.tables import read_row_groups, read_table
from tasks.corpus.rules import KEPT


@dataclass(frozen=True)
class BuildParts:
    """The artifacts of a build by name, and its sources in order."""

    manifests: Mapping[str, Manifest]
    sources: tuple[str, ...]

    def documents(self, source: str) -> Manifest:
        """The documents of a source."""
        return self.manifests[f"{source}/documents"]

    def artifact(self, source: str, step: str) -> Manifest | None:
        """The result of a step for the documents of a source; None if they do not go through it."""
        return self.manifests.get(f"{source}/{step}") or self.manifests.get(f"across/{step}")

    def part(self, source: str, step: str, shard: int) -> Part:
        """The part of a step's result for one shard of a source."""
        own = self.manifests.get(f"{source}/{step}")
        if own is not None:
            return own.parts[shard]
        manifest = self.manifests["outcomes" if step == "outcomes" else f"across/{step}"]
        return manifest.parts[self.first_shard(source) + shard]

    def parts(self, source: str, step: str) -> list[Part]:
        """The parts of a step's result for a source."""
        return [self.part(source, step, shard) for shard in range(len(self.documents(source).parts))]

    def first_shard(self, source: str) -> int:
        """The number of shards of all preceding sources."""
        before = self.sources[: self.sources.index(source)]
        return sum(len(self.documents(name).parts) for name in before)

    def place(self, shard: int) -> tuple[str, int]:
        """The source of a shard that is numbered over all sources, and its number in that source."""
        for source in self.sources:
            number = len(self.documents(source).parts)
            if shard < number:
                return source, shard
            shard -= number
        raise Corrupt(f"an artifact refers to shard {shard} after the last one: build it again")

    def steps_of(self, source: str, stage: str) -> list[str]:
        """The steps of a stage that the documents of a source go through, in order."""
        return [
            name.partition("/")[2]
            for name, manifest in self.manifests.items()
            if manifest.stage == stage and name.partition("/")[0] in (source, "across")
        ]


def judged_shards(
    reader: PartReader, build: BuildParts, source: str, wanted: Mapping[str, Sequence[str]]
) -> Iterator[pa.Table]:
    """Yield one table per shard of a source, one row per document.

    Columns: ``kept`` (bool), ``tokens`` (int64) and ``step.column``. `wanted` maps steps to columns. A step that the
    source does not go through adds no columns. ``tokens`` is 0 for a removed document, and includes the end-of-text
    token of a kept one. One shard is in memory at a time. Raises Corrupt or ValueError if the parts are not about the
    same documents.
    """
    encoded = iter(build.manifests[f"{source}/encode"].parts)
    for number, part in enumerate(build.documents(source).parts):
        outcome = read_table(reader.path(build.part(source, "outcomes", number)), ["outcome"], about=part.content)
        if outcome.num_rows != part.rows:
            raise Corrupt(f"{part.name} has {part.rows} documents, but {outcome.num_rows} outcomes: build it again")
        kept = pc.equal(outcome["outcome"], KEPT)
        columns = {"kept": kept, "tokens": _tokens(reader, encoded, kept, part)}
        for step, names in wanted.items():
            if build.artifact(source, step) is not None:
                table = read_table(reader.path(build.part(source, step, number)), list(names), about=part.content)
                columns |= {f"{step}.{name}": table[name] for name in names}
        yield pa.table(columns)


def value_range(reader: PartReader, parts: Sequence[Part], column: str) -> tuple[float, float] | None:
    """The minimum and maximum of a column over parts; None if it has no values."""
    least, most = [], []
    for part in parts:
        for table in read_row_groups(reader.path(part), [column]):
            found = pc.min_max(table[column], skip_nulls=True)
            if found["min"].is_valid:
                least.append(float(found["min"].as_py()))
                most.append(float(found["max"].as_py()))
    return (min(least), max(most)) if least else None


def _tokens(reader: PartReader, encoded: Iterator[Part], kept: pa.ChunkedArray, shard: Part) -> pa.Array:
    """Tokens per document of a shard. A shard without kept documents has no part with tokens."""
    mask = kept.to_numpy(zero_copy_only=False)
    tokens = np.zeros(len(mask), np.int64)
    if mask.any():
        part = next(encoded, None)
        groups = [] if part is None else read_row_groups(reader.path(part), ["ids"])
        lengths = [_lengths(group["ids"]) for group in groups]
        if sum(map(len, lengths)) != mask.sum():
            raise Corrupt(
                f"{shard.name}: its tokens do not match the {mask.sum()} documents kept: build the tokens again"
            )
        tokens[mask] = np.concatenate(lengths) + 1
    return pa.array(tokens)


def _lengths(ids: pa.ChunkedArray) -> np.ndarray:
    return pc.list_value_length(ids).to_numpy().astype(np.int64)
