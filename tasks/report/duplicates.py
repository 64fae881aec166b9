"""Near-duplicates of a build: who went because of whom, and the pairs nearest to the threshold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.shards import PartReader
from infra.engine.units import Shard
from infra.store.errors import Corrupt
from infra.store.manifest import Manifest, Part
from infra.tables import read_table
from tasks.corpus.index import find_documents
from tasks.corpus.rules import KEPT
from tasks.report.histogram import Histogram, HistogramCounter
from tasks.report.judged import BuildParts

STAGE = "near_duplicates"
PAIRS_ON_EACH_SIDE = 3
_EXCERPT_CHARACTERS = 180
_EDGES = np.round(np.linspace(0, 1, 51), 2)


@dataclass(frozen=True, slots=True)
class PairMember:
    """One document of a pair. `excerpt` is the start of its text as compared; `kept` is whether it is in the corpus."""

    id: str
    url: str | None
    excerpt: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two documents that were compared, and how similar they are. `verified`: whether the left one went."""

    left: PairMember
    right: PairMember
    similarity: float
    verified: bool


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """What one step found.

    `candidates` documents share a key with another, `compared` of them were compared with one, and `gone` of these
    went. `sizes` are (documents that one document stands for, itself included; how many do), ascending. `histogram` is
    of the similarity of each compared document to its match. `scope` is the source that was searched.
    """

    step: str
    scope: str
    similarity: str
    threshold: float
    candidates: int
    compared: int
    gone: int
    sizes: tuple[tuple[int, int], ...]
    histogram: Histogram
    pairs: tuple[Pair, ...]


def near_duplicates_of(reader: PartReader, build: BuildParts) -> tuple[NearDuplicates, ...]:
    """Summarise the evidence of each step that finds near-duplicates, shard by shard.

    Builds before 2026-11-29 have evidence of another kind; they are left out.
    """
    return tuple(
        _found(reader, build, name)
        for name, manifest in build.manifests.items()
        if manifest.stage == STAGE and manifest.version > 1
    )


def _found(reader: PartReader, build: BuildParts, name: str) -> NearDuplicates:
    """The pairs are the nearest to the threshold: `PAIRS_ON_EACH_SIDE` below it and as many at or above it."""
    manifest = build.manifests[name]
    scope, _, step = name.partition("/")
    threshold = float(manifest.config["threshold"])
    counter = HistogramCounter(_EDGES, ("gone", "stays"))
    copies: Counter[str] = Counter()
    candidates = 0
    nearest: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for source in build.sources if scope == "across" else (scope,):
        for number, part in enumerate(build.documents(source).parts):
            clusters = read_table(reader.path(build.part(source, step, number)), ["cluster"], about=part.content)
            candidates += len(clusters) - clusters["cluster"].null_count
            rows = _compared(reader, build, source, number, step)
            for gone, series in ((True, "gone"), (False, "stays")):
                chosen = rows.filter(pc.equal(rows["gone"], gone))
                counter.add(series, chosen["similarity"].to_numpy())
                nearest[gone] = _nearest([*nearest[gone], *_first(chosen, gone)], threshold)
                if gone:
                    copies.update(chosen["match"].to_pylist())
    return NearDuplicates(
        step=step,
        scope="all sources" if scope == "across" else scope,
        similarity=str(manifest.config["similarity"]),
        threshold=threshold,
        candidates=candidates,
        compared=counter.result().total,
        gone=copies.total(),
        sizes=tuple(sorted(Counter(count + 1 for count in copies.values()).items())),
        histogram=counter.result(),
        pairs=tuple(
            Pair(left, right, row["similarity"], row["gone"])
            for row in [*nearest[True], *nearest[False]]
            if (left := _member(reader, build, manifest, row["source"], row["number"], row["row"]))
            and (right := _match(reader, build, manifest, row))
        ),
    )


def _compared(reader: PartReader, build: BuildParts, source: str, number: int, step: str) -> pa.Table:
    """The documents of a shard that the step compared with another: row, match, similarity and whether each went."""
    part = build.documents(source).parts[number]
    columns = ["outcome", "compared", "match", "match_known", "similarity"]
    found = read_table(reader.path(build.part(source, "outcomes", number)), columns, about=part.content)
    rows = np.flatnonzero(pc.fill_null(pc.equal(found["compared"], step), False).to_numpy(zero_copy_only=False))
    found = found.take(pa.array(rows))
    gone = pc.starts_with(found["outcome"], f"{step}:dropped:")
    return pa.table(
        {
            "source": pa.array([source] * len(rows), pa.string()),
            "number": pa.array([number] * len(rows), pa.int64()),
            "row": pa.array(rows, pa.int64()),
            "match": found["match"],
            "match_known": found["match_known"],
            "similarity": found["similarity"],
            "gone": gone,
        }
    )


def _first(rows: pa.Table, gone: bool) -> list[dict[str, Any]]:
    order = [("similarity", "ascending" if gone else "descending"), ("number", "ascending"), ("row", "ascending")]
    return list(rows.sort_by(order).slice(0, PAIRS_ON_EACH_SIDE).to_pylist())


def _nearest(rows: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    place = ("source", "number", "row")
    ordered = sorted(rows, key=lambda row: (abs(row["similarity"] - threshold), *(row[name] for name in place)))
    return ordered[:PAIRS_ON_EACH_SIDE]


def _match(reader: PartReader, build: BuildParts, manifest: Manifest, row: dict[str, Any]) -> PairMember:
    identity = row["match"]
    if row["match_known"]:
        return PairMember(identity, None, "in the corpus of an earlier build", True)
    rows = [part.rows for source in build.sources for part in build.documents(source).parts]
    for shards, place in find_documents(reader, build.manifests["index"], rows, identity):
        source, shard = build.place(shards)
        member = _member(reader, build, manifest, source, shard, place)
        if member.id == identity:
            return member
    raise Corrupt(f"a near-duplicate refers to the document {identity}, which the index lacks: build it again")


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
