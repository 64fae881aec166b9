"""Near-duplicates of a build: the compared pairs, the clusters, and the pairs nearest to the threshold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.shards import PartReader
from infra.engine.units import Shard
from infra.store.errors import Corrupt
from infra.store.manifest import Manifest, Part
from infra.tables import read_row_groups, read_table
from tasks.corpus.rules import KEPT
from tasks.report.histogram import Histogram, HistogramCounter
from tasks.report.judged import BuildParts

STAGE = "near_duplicates"
PAIRS_ON_EACH_SIDE = 3
_EXCERPT_CHARACTERS = 180
_JACCARD_EDGES = np.round(np.linspace(0, 1, 51), 2)


@dataclass(frozen=True, slots=True)
class PairMember:
    """One document of a pair. `excerpt` is the start of its text as compared; `kept` is whether it is in the corpus."""

    id: str
    url: str | None
    excerpt: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two documents and their exact Jaccard index."""

    left: PairMember
    right: PairMember
    jaccard: float
    verified: bool


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """`sizes` are (documents of a cluster, clusters of that size), ascending; `jaccard` covers all candidates.

    `scope` is the source that was searched.
    """

    step: str
    scope: str
    threshold: float
    candidates: int
    verified: int
    clusters: int
    members: int
    sizes: tuple[tuple[int, int], ...]
    jaccard: Histogram
    pairs: tuple[Pair, ...]


def near_duplicates_of(reader: PartReader, build: BuildParts) -> tuple[NearDuplicates, ...]:
    """Summarise the evidence of each step that finds near-duplicates, part by part."""
    return tuple(_found(reader, build, name) for name, manifest in build.manifests.items() if manifest.stage == STAGE)


def _found(reader: PartReader, build: BuildParts, name: str) -> NearDuplicates:
    """The pairs are the nearest to the threshold: `PAIRS_ON_EACH_SIDE` below it and as many at or above it."""
    manifest = build.manifests[name]
    scope, _, step = name.partition("/")
    first = 0 if scope == "across" else build.first_shard(scope)

    def member(shard: int, row: int) -> PairMember:
        return _member(reader, build, manifest, *build.place(first + shard), row)

    threshold = float(manifest.config["threshold"])
    histogram = HistogramCounter(_JACCARD_EDGES, ("verified", "rejected"))
    counts = {True: 0, False: 0}
    nearest: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for part in manifest.evidence("verify"):
        for edges in read_row_groups(reader.path(part)):
            for verified, series in ((True, "verified"), (False, "rejected")):
                chosen = edges.filter(pc.equal(edges["verified"], verified))
                counts[verified] += chosen.num_rows
                histogram.add(series, chosen["jaccard"].to_numpy())
                nearest[verified] = _nearest([*nearest[verified], *_first(chosen, verified)], threshold)
    sizes = _sizes(reader, manifest)
    return NearDuplicates(
        step=step,
        scope="all sources" if scope == "across" else scope,
        threshold=threshold,
        candidates=sum(counts.values()),
        verified=counts[True],
        clusters=sum(sizes.values()),
        members=sum(size * number for size, number in sizes.items()),
        sizes=tuple(sorted(sizes.items())),
        jaccard=histogram.result(),
        pairs=tuple(
            Pair(
                member(edge["shard"], edge["row"]),
                member(edge["other_shard"], edge["other_row"]),
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
    for part in manifest.evidence("resolve"):
        for table in read_row_groups(reader.path(part), ["size"]):
            for row in pc.value_counts(table["size"]).to_pylist():
                members[row["values"]] += row["counts"]
    return {size: number // size for size, number in members.items()}


def _member(
    reader: PartReader, build: BuildParts, manifest: Manifest, source: str, number: int, row: int
) -> PairMember:
    part = build.documents(source).parts[number]
    shard = Shard(part, _edits_seen(reader, build, manifest, source, number))
    left = row
    for batch in reader.batches(shard, ["id", "url", "text"]):
        if left < batch.documents.num_rows:
            [document] = batch.documents.slice(left, 1).to_pylist()
            excerpt = " ".join(document["text"][: 4 * _EXCERPT_CHARACTERS].split())
            shortened = excerpt if len(excerpt) <= _EXCERPT_CHARACTERS else excerpt[: _EXCERPT_CHARACTERS - 1] + "…"
            outcome = read_table(reader.path(build.part(source, "outcomes", number)), ["outcome"], about=part.content)
            kept = outcome["outcome"][row].as_py() == KEPT
            return PairMember(document["id"], document["url"], shortened, kept)
        left -= batch.documents.num_rows
    raise Corrupt(f"a near-duplicate refers to row {row} of {part.name}, which has fewer rows: build it again")


def _edits_seen(
    reader: PartReader, build: BuildParts, manifest: Manifest, source: str, number: int
) -> tuple[Part, ...]:
    """The edits in the text as it was compared, in order, from the inputs of the artifact."""
    read = {name.partition("/")[2] for name in manifest.inputs if name.partition("/")[0] == source} - {"documents"}
    # The build lists steps in order; the inputs of a manifest are sorted by name.
    scopes = [name.partition("/") for name in build.manifests]
    steps = [step for scope, _, step in scopes if scope in (source, "across") and step in read]
    parts = [build.part(source, step, number) for step in steps]
    return tuple(part for part in parts if "edits" in pq.read_schema(reader.path(part)).names)
