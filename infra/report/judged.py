"""The documents of a build shard by shard: what stages found out, what the corpus decided, and their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.engine.shards import PartReader
from infra.store.errors import Corrupt
from infra.store.manifest import Manifest, Part
from infra.tables import read_row_groups, read_table


def judged_shards(
    reader: PartReader, manifests: Mapping[str, Manifest], wanted: Mapping[str, Sequence[str]]
) -> Iterator[pa.Table]:
    """One table a shard, a row a document: ``kept`` (bool), ``tokens`` (int64), and ``stage.column`` as `wanted` says.

    `wanted` maps stages to columns; a stage that the build does not have gives no columns. Tokens are 0 for a
    document that is out, and count the end-of-text token of one that is kept. One shard is held at a time.
    Raises Corrupt or ValueError when the parts do not speak of the same documents.
    """
    documents = manifests["documents"]
    fates = _fates(reader, manifests["corpus"], documents.parts)
    encoded = iter(manifests["encode"].parts)
    for number, (part, fate) in enumerate(zip(documents.parts, fates, strict=True)):
        kept = pc.equal(fate, "")
        columns = {"kept": kept, "tokens": _tokens(reader, encoded, kept, part)}
        for stage, names in wanted.items():
            if stage in manifests:
                path = reader.path(manifests[stage].parts[number])
                table = read_table(path, list(names), about=part.content)
                columns |= {f"{stage}.{name}": table[name] for name in names}
        yield pa.table(columns)


def value_range(reader: PartReader, parts: Sequence[Part], column: str) -> tuple[float, float] | None:
    """The least and the greatest value of a column over parts, None when it has none."""
    least, most = [], []
    for part in parts:
        for table in read_row_groups(reader.path(part), [column]):
            found = pc.min_max(table[column], skip_nulls=True)
            if found["min"].is_valid:
                least.append(float(found["min"].as_py()))
                most.append(float(found["max"].as_py()))
    return (min(least), max(most)) if least else None


def _fates(reader: PartReader, corpus: Manifest, shards: Sequence[Part]) -> Iterator[pa.ChunkedArray]:
    """The fates of each shard's documents; the corpus wrote them in the order of shard and row."""
    [part] = corpus.evidence("reduce")
    groups = read_row_groups(reader.path(part))
    held = next(groups, None)
    for number, shard in enumerate(shards):
        while held is not None and held.num_rows < shard.rows and (group := next(groups, None)) is not None:
            held = pa.concat_tables([held, group])
        mine = held.slice(0, shard.rows) if held is not None else None
        if (
            held is None
            or mine is None
            or mine.num_rows != shard.rows
            or not np.array_equal(mine["row"].to_numpy(), np.arange(shard.rows))
            or not pc.all(pc.equal(mine["shard"], number)).as_py()
        ):
            raise Corrupt(f"{part.path} holds no fates of shard {number} ({shard.name}): build the corpus again")
        held = held.slice(shard.rows)
        yield mine["fate"]


def _tokens(reader: PartReader, encoded: Iterator[Part], kept: pa.ChunkedArray, shard: Part) -> pa.Array:
    """Tokens per document of a shard. A shard of which nothing is kept has no part of tokens."""
    mask = kept.to_numpy(zero_copy_only=False)
    tokens = np.zeros(len(mask), np.int64)
    if mask.any():
        part = next(encoded, None)
        groups = [] if part is None else read_row_groups(reader.path(part), ["ids"])
        lengths = [_lengths(group["ids"]) for group in groups]
        if sum(map(len, lengths)) != mask.sum():
            raise Corrupt(
                f"{shard.name}: its tokens are not of the {mask.sum()} documents kept: build the tokens again"
            )
        tokens[mask] = np.concatenate(lengths) + 1
    return pa.array(tokens)


def _lengths(ids: pa.ChunkedArray) -> np.ndarray:
    return pc.list_value_length(ids).to_numpy().astype(np.int64)
