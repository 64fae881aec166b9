"""Near-duplicates of a build: what was compared, the clusters, and the pairs nearest to the threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.pieces import Shard
from infra.engine.shards import PartReader
from infra.report.histogram import Histogram, HistogramCounter
from infra.store.errors import Corrupt
from infra.store.manifest import Manifest
from infra.tables import read_row_groups

PAIRS_ON_EACH_SIDE = 3
_EXCERPT_CHARACTERS = 180
_JACCARD_EDGES = np.round(np.linspace(0, 1, 51), 2)


@dataclass(frozen=True, slots=True)
class PairMember:
    """One document of a pair, with the beginning of its text as it was compared; `kept` when it is in the corpus."""

    id: str
    url: str | None
    excerpt: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two documents whose exact Jaccard index was computed."""

    left: PairMember
    right: PairMember
    jaccard: float
    verified: bool


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """`sizes` are (documents of a cluster, clusters of that size), ascending; `jaccard` is of all candidates."""

    threshold: float
    candidates: int
    verified: int
    clusters: int
    members: int
    sizes: tuple[tuple[int, int], ...]
    jaccard: Histogram
    pairs: tuple[Pair, ...]


def near_duplicates_of(reader: PartReader, manifests: Mapping[str, Manifest]) -> NearDuplicates | None:
    """What the evidence of the stage says, part by part; None when the build has no such stage.

    The pairs are those nearest to the threshold, `PAIRS_ON_EACH_SIDE` below it and as many from it on.
    """
    if "near_duplicates" not in manifests:
        return None
    manifest = manifests["near_duplicates"]
    threshold = float(manifest.config["threshold"])
    histogram = HistogramCounter(_JACCARD_EDGES, ("verified", "rejected"))
    counts = {True: 0, False: 0}
    nearest: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for part in manifest.evidence("gather"):
        for edges in read_row_groups(reader.path(part)):
            for verified, series in ((True, "verified"), (False, "rejected")):
                chosen = edges.filter(pc.equal(edges["verified"], verified))
                counts[verified] += chosen.num_rows
                histogram.add(series, chosen["jaccard"].to_numpy())
                nearest[verified] = _nearest([*nearest[verified], *_first(chosen, verified)], threshold)
    sizes = _sizes(reader, manifest)
    return NearDuplicates(
        threshold=threshold,
        candidates=sum(counts.values()),
        verified=counts[True],
        clusters=sum(sizes.values()),
        members=sum(size * number for size, number in sizes.items()),
        sizes=tuple(sorted(sizes.items())),
        jaccard=histogram.result(),
        pairs=tuple(
            Pair(
                _member(reader, manifests, edge["shard"], edge["row"]),
                _member(reader, manifests, edge["other_shard"], edge["other_row"]),
                edge["jaccard"],
                edge["verified"],
            )
            for edge in [*nearest[True], *nearest[False]]
        ),
    )


def _first(edges: Any, verified: bool) -> list[dict[str, Any]]:
    order = [("jaccard", "ascending" if verified else "descending"), ("id", "ascending"), ("other_id", "ascending")]
    return list(edges.sort_by(order).slice(0, PAIRS_ON_EACH_SIDE).to_pylist())


def _nearest(edges: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    ordered = sorted(edges, key=lambda edge: (abs(edge["jaccard"] - threshold), edge["id"], edge["other_id"]))
    return ordered[:PAIRS_ON_EACH_SIDE]


def _sizes(reader: PartReader, manifest: Manifest) -> dict[int, int]:
    members: Counter[int] = Counter()
    for part in manifest.evidence("settle"):
        for table in read_row_groups(reader.path(part), ["size"]):
            for row in pc.value_counts(table["size"]).to_pylist():
                members[row["values"]] += row["counts"]
    return {size: number // size for size, number in members.items()}


def _member(reader: PartReader, manifests: Mapping[str, Manifest], shard: int, row: int) -> PairMember:
    edits = (manifests["paragraphs"].parts[shard],) if "paragraphs" in manifests else ()
    left = row
    for batch in reader.batches(Shard(manifests["documents"].parts[shard], edits), ["id", "url", "text"]):
        if left < batch.documents.num_rows:
            [document] = batch.documents.slice(left, 1).to_pylist()
            excerpt = " ".join(document["text"][: 4 * _EXCERPT_CHARACTERS].split())
            shortened = excerpt if len(excerpt) <= _EXCERPT_CHARACTERS else excerpt[: _EXCERPT_CHARACTERS - 1] + "…"
            return PairMember(document["id"], document["url"], shortened, _is_kept(reader, manifests, shard, row))
        left -= batch.documents.num_rows
    raise Corrupt(f"a near-duplicate is said to be row {row} of shard {shard}, which is shorter: build it again")


def _is_kept(reader: PartReader, manifests: Mapping[str, Manifest], shard: int, row: int) -> bool:
    [part] = manifests["corpus"].evidence("reduce")
    here = (pc.field("shard") == shard) & (pc.field("row") == row)
    fates = pq.read_table(reader.path(part), columns=["fate"], filters=here, partitioning=None)["fate"].to_pylist()
    return fates == [""]
