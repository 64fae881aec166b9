"""What a run trained on: the tokens of each document that it predicted, as counted one sequence at a time."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra.engine.shards import PartReader
from infra.store.lake import Lake
from model.analysis.trace import documents_in
from model.run.data import open_order
from tasks.cards.exposure import exposure_of, predicted_tokens
from tasks.report.judged import BuildParts
from tasks.text.urls import domain_of
from tasks.tracing.run import TracedRun
from tests.model.support.small import small_run
from tests.model.support.trained import going_on_from, train_here
from tests.tasks.cards.conftest import BATCH, LENGTH, STEPS, Corpus


@pytest.mark.parametrize("compat", [None, "neox"])
def test_predicted_tokens_are_those_of_the_sequences(tmp_path: Path, compat: str | None) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    order = open_order(lake, small_run(lake, tmp_path / "text", steps=8, compat=compat, epochs=2), tmp_path / "cache")
    chosen = [0, 3, 3, *range(7, 60)]
    expected: Counter[tuple[str, int]] = Counter()
    for sequence in chosen:
        for number, span in enumerate(documents_in(order, sequence)):
            expected[span.source, span.document] += span.tokens - (number == 0)
    found: Counter[tuple[str, int]] = Counter()
    for source, counts in predicted_tokens(order, chosen):
        found.update({(source, document): int(count) for document, count in enumerate(counts) if count})
    assert found == {place: count for place, count in expected.items() if count}
    again: Counter[tuple[str, int]] = Counter()
    for source, counts in predicted_tokens(order, iter(chosen), at_once=7):
        again.update({(source, document): int(count) for document, count in enumerate(counts) if count})
    assert again == found
    assert sum(found.values()) == len(chosen) * order.length


def test_a_run_is_counted_with_its_passes(corpus: Corpus, tmp_path: Path) -> None:
    lake, build, run = corpus.lake, corpus.build, corpus.run
    parts = BuildParts({name: build.manifest(lake, name) for name in build.artifacts}, tuple(build.sources))
    reader = PartReader(lake, tmp_path)
    found = exposure_of(lake, run.key, parts, reader, tmp_path)
    assert (found.steps, found.left_out, found.unknown) == (STEPS, 0, None)
    assert sum(size.tokens for size in found.sources.values()) == STEPS * BATCH * LENGTH
    traced = TracedRun(lake, run.key, tmp_path)
    expected: Counter[str] = Counter()
    for step in range(1, STEPS + 1):
        for sequence in traced.step(step)["sequences"]:
            for number, span in enumerate(sequence["documents"]):
                expected[span["id"]] += span["tokens"] - (number == 0)
    by_domain: Counter[str | None] = Counter()
    for source in parts.sources:
        for part in build.manifest(lake, f"{source}/corpus").parts:
            for row in pq.read_table(reader.path(part), columns=["id", "url", "text"]).to_pylist():
                tokens = next(size for id, size in _sizes(lake, found.tokens, reader) if id == row["id"])
                seen = expected[row["id"]] / tokens * len(row["text"].encode())
                by_domain[domain_of(row["url"])] += int(np.rint(seen))
    assert {name: size.bytes for name, size in found.domains.items()} == {
        name: count for name, count in by_domain.items() if count
    }
    assert max(found.passes.values()) > 1
    assert found.passes["books"] == pytest.approx(
        found.sources["books"].tokens / sum(size for id, size in _sizes(lake, found.tokens, reader) if "books/" in id)
    )


def test_a_run_counts_with_the_one_that_it_continues(corpus: Corpus, tmp_path: Path) -> None:
    lake = Lake.open(str(shutil.copytree(corpus.lake.uri, tmp_path / "lake")))
    child = going_on_from(lake, corpus.run, STEPS, "more", steps=STEPS + 10)
    train_here(lake, child, tmp_path / "cache")
    parts = BuildParts({name: corpus.build.manifest(lake, name) for name in corpus.build.artifacts}, ("web", "books"))
    reader = PartReader(lake, tmp_path / "cache")
    alone, both = (exposure_of(lake, run.key, parts, reader, tmp_path / "cache") for run in (corpus.run, child))
    assert (both.steps, both.unknown) == (STEPS + 10, None)
    added = sum(size.tokens for size in both.sources.values()) - sum(size.tokens for size in alone.sources.values())
    assert added == 10 * BATCH * LENGTH
    # Where the earlier run is gone, its steps are told to be unknown.
    shutil.rmtree(Path(lake.uri, "runs", corpus.run.key))
    left = exposure_of(lake, child.key, parts, reader, tmp_path / "cache")
    assert left.steps == 10 and left.unknown is not None and corpus.run.key[:12] in left.unknown
    assert sum(size.tokens for size in left.sources.values()) == added


def _sizes(lake: Lake, tokens, reader: PartReader) -> list[tuple[str, int]]:  # type: ignore[no-untyped-def]
    rows = []
    for part in tokens.parts:
        if part.name.endswith(".lineage.parquet"):
            rows += [(row["id"], row["tokens"]) for row in pq.read_table(reader.path(part)).to_pylist()]
    return rows
