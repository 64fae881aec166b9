"""What a run trained on, document by document: the tokens that it predicted, passes included."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.shards import PartReader
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.tables import read_table
from model.order import Order
from tasks.cards.facts import Size
from tasks.report.judged import BuildParts, judged_shards
from tasks.text.urls import domain_of
from tasks.token_artifact import token_files
from tasks.tracing.run import CannotTrace, TracedRun

_AT_ONCE = 1 << 18  # sequences; each has some spans, of 16 bytes


@dataclass(frozen=True)
class Exposure:
    """The training of a run: its key, steps taken and left out, and why earlier steps are unknown, if they are.

    `sources` are the documents, bytes and tokens that were trained on, and `passes` tokens trained on / tokens there.
    Bytes are those of the documents' texts, as often as their tokens were predicted. Domains are None without a URL.
    """

    run: str
    steps: int
    left_out: int
    unknown: str | None
    tokens: Manifest
    sources: dict[str, Size]
    passes: dict[str, float]
    domains: dict[str | None, Size]


def exposure_of(lake: Lake, run: str, parts: BuildParts, reader: PartReader, cache: Path) -> Exposure:
    """What a run trained on, with the runs that it continues. `parts` are those of the build of its tokens.

    Raises CannotTrace and the errors of the store as `TracedRun` does.
    """
    traced = TracedRun(lake, run, cache)
    tokens = traced.tokens
    if tokens is None:
        raise CannotTrace(f"the token files of the run {run[:12]} belong to no artifact of this lake")
    chain, unknown = _chain(traced)
    steps = left_out = 0
    trained: dict[str, np.ndarray] = {}
    for one in chain:
        if one.tokens is None or one.tokens.key != tokens.key:
            unknown = f"the run {one.config.key[:12]} read other tokens"
            break
        taken = list(range(one.config.first_step + 1, one.steps.last + 1))
        applied = [step for step in taken if one.steps.skipped(step) is None]
        steps, left_out = steps + len(applied), left_out + len(taken) - len(applied)
        for source, counts in predicted_tokens(one.order, (i for step in applied for i in one.steps.sequences(step))):
            trained[source] = trained.get(source, 0) + counts
    sources: dict[str, Size] = {}
    passes: dict[str, float] = {}
    domains: dict[str | None, Size] = {}
    for source, counts in trained.items():
        documents = _documents(reader, parts, tokens, source)
        weights = counts / np.maximum(1, documents["tokens"].to_numpy())
        table = documents.append_column("trained", pa.array(counts)).append_column(
            "seen", pa.array(np.rint(documents["bytes"].to_numpy() * weights).astype(np.int64))
        )
        table = table.filter(pc.greater(table["trained"], 0))
        sources[source] = Size(table.num_rows, pc.sum(table["seen"]).as_py() or 0, int(counts.sum()))
        passes[source] = float(counts.sum() / max(1, pc.sum(documents["tokens"]).as_py()))
        for row in (
            table.group_by("domain").aggregate([("seen", "count"), ("seen", "sum"), ("trained", "sum")]).to_pylist()
        ):
            domains.setdefault(row["domain"], Size()).add(row["seen_count"], row["seen_sum"], row["trained_sum"])
    ordered = dict(sorted(domains.items(), key=lambda item: (-item[1].bytes, item[0] or "")))
    return Exposure(run, steps, left_out, unknown, tokens, sources, passes, ordered)


def predicted_tokens(
    order: Order, sequences: Iterable[int], at_once: int = _AT_ONCE
) -> Iterator[tuple[str, np.ndarray]]:
    """For each source, how many tokens of each of its documents sequences predict: int64 [documents].

    A model predicts all tokens of a sequence but the first. A source comes again after each `at_once` sequences: memory
    is that of so many.
    """
    remaining = iter(sequences)
    while some := list(itertools.islice(remaining, at_once)):
        yield from _predicted(order, some)


def _predicted(order: Order, sequences: Iterable[int]) -> Iterator[tuple[str, np.ndarray]]:
    firsts: dict[str, array[int]] = {}
    pasts: dict[str, array[int]] = {}
    for sequence in sequences:
        location = order.locate(sequence)
        begin, end = firsts.setdefault(location.source, array("q")), pasts.setdefault(location.source, array("q"))
        predicted = 0  # the first token is given
        for first, count in location.spans:
            given = 1 if not predicted and count else 0
            predicted += count
            begin.append(first + given)
            end.append(first + count)
    for source in firsts:
        starts = np.asarray(order.file(source).document_starts, np.int64)
        yield source, np.diff(_before(starts, firsts[source]) - _before(starts, pasts[source]))


def _before(places: np.ndarray, marks: array[int]) -> np.ndarray:
    """For each place, the sum over all smaller marks of their distance to it."""
    ordered = np.sort(np.frombuffer(marks, np.int64))
    total = np.concatenate([[0], np.cumsum(ordered)])
    smaller = np.searchsorted(ordered, places)
    result: np.ndarray = places * smaller - total[smaller]
    return result


def _chain(run: TracedRun) -> tuple[list[TracedRun], str | None]:
    """The run and those that it continues, the newest first, and why the first of them are unknown."""
    found = [run]
    while found[-1].config.origin is not None:
        try:
            found.append(found[-1].parent())
        except (StoreError, CannotTrace) as error:
            return found, str(error)
    return found, None


def _documents(reader: PartReader, parts: BuildParts, tokens: Manifest, name: str) -> pa.Table:
    """The documents of a token source in its order: id, tokens, bytes and domain."""
    lineages = [files.lineage for files in token_files(tokens)[name]]
    there = [part for part in lineages if part is not None]
    if len(there) < len(lineages):
        raise CannotTrace(f"the tokens of {name} have no lineage: build them again")
    rows = pa.concat_tables([pq.read_table(reader.path(part), columns=["id", "tokens"]) for part in there])
    source = name if name in parts.sources else name.partition(".")[0]
    kept = _kept(reader, parts, source)
    place = pc.index_in(rows["id"].combine_chunks(), kept["id"].combine_chunks())
    if place.null_count:
        raise CannotTrace(f"the tokens of {name} have documents that are not in its corpus: build them again")
    return rows.append_column("bytes", kept["bytes"].take(place)).append_column("domain", kept["domain"].take(place))


def _kept(reader: PartReader, parts: BuildParts, source: str) -> pa.Table:
    found = []
    for number, shard in enumerate(judged_shards(reader, parts, source, {"rules": ["length"]})):
        stored = read_table(reader.path(parts.documents(source).parts[number]), ["id", "url"])
        domains = pa.array([domain_of(url) for url in stored["url"].to_pylist()], pa.string())
        table = pa.table({"id": stored["id"], "bytes": shard["rules.length"], "domain": domains})
        found.append(table.filter(shard["kept"]))
    return pa.concat_tables(found)
