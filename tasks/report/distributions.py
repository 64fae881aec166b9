"""Distributions of documents: over languages, over perplexities, and over the values that the recipe's rules check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.engine.shards import PartReader
from tasks.corpus.rules import Rule
from tasks.report.histogram import Histogram, HistogramCounter, edges_between, logarithmic_edges
from tasks.report.judged import BuildParts, judged_shards, value_range

BUCKETS = ("head", "middle", "tail", "all")
# Perplexities of cc_net's models are well inside this range; values outside go to the outermost bins.
_PERPLEXITY_EDGES = logarithmic_edges(1.0, 1e7, 16)


@dataclass(frozen=True, slots=True)
class Count:
    """Documents read, documents kept, and the tokens of the kept ones."""

    documents: int = 0
    kept: int = 0
    tokens: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.documents + other.documents, self.kept + other.kept, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class LanguageCount:
    """One language; `label` is None for documents without an identified language."""

    label: str | None
    count: Count


@dataclass(frozen=True, slots=True)
class LanguagePerplexity:
    """The perplexities of one language's documents: counts per bucket (head, middle, tail, all), and a histogram."""

    language: str
    buckets: tuple[tuple[str, Count], ...]
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule of a source and the values that it checks; `fails` counts the values that it would drop by itself.

    Documents to which the rule does not apply have no part in it.
    """

    source: str
    step: str
    column: str
    reason: str
    at_least: float | None
    at_most: float | None
    fails: int
    missing: int
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class Distributions:
    """All distributions and their totals. Languages are in descending order of documents."""

    total: Count
    sources: Mapping[str, Count]
    languages: tuple[LanguageCount, ...]
    perplexities: tuple[LanguagePerplexity, ...]
    rules: tuple[RuleView, ...]


def distributions(
    reader: PartReader, build: BuildParts, rules: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Distributions:
    """Count the annotations of a build, shard by shard. `rules` are those of the recipe, by source.

    Raises Corrupt or ValueError if the parts are inconsistent.
    """
    total = Count()
    by_source: dict[str, Count] = {}
    languages: dict[Any, Count] = {}
    buckets: dict[Any, Count] = {}
    histograms: dict[str, HistogramCounter] = {}
    counters: list[_RuleCounter] = []
    for source in build.sources:
        here = [_RuleCounter(reader, build, source, rule) for rule in _numeric(rules[source], build, source)]
        counters += here
        language, perplexity = _first(build, source, "language"), _first(build, source, "perplexity")
        by_source[source] = Count()
        for shard in judged_shards(reader, build, source, _wanted(here, language, perplexity)):
            by_source[source] += _count(shard)
            if language is not None:
                _add(languages, _grouped(shard, [f"{language}.label"]))
            if language is not None and perplexity is not None:
                scored = shard.filter(pc.is_valid(shard[f"{perplexity}.perplexity"]))
                scored = scored.rename_columns(_plain(scored.column_names, language, perplexity))
                _add(buckets, _grouped(scored, ["label", "bucket"]))
                _add_perplexities(histograms, scored)
            for counter in here:
                counter.add(shard)
        total += by_source[source]
    return Distributions(
        total,
        by_source,
        tuple(LanguageCount(label, count) for (label,), count in _by_documents(languages)),
        _perplexities(buckets, histograms),
        tuple(counter.result() for counter in counters),
    )


def _first(build: BuildParts, source: str, stage: str) -> str | None:
    return next(iter(build.steps_of(source, stage)), None)


def _wanted(counters: Sequence[_RuleCounter], language: str | None, perplexity: str | None) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    if language is not None:
        wanted[language] = ["label"]
    if perplexity is not None:
        wanted[perplexity] = ["perplexity", "bucket"]
    for step, column in (place for counter in counters for place in counter.columns):
        columns = wanted.setdefault(step, [])
        if column not in columns:
            columns.append(column)
    return wanted


def _plain(names: Sequence[str], language: str, perplexity: str) -> list[str]:
    known = {f"{language}.label": "label", f"{perplexity}.perplexity": "perplexity", f"{perplexity}.bucket": "bucket"}
    return [known.get(name, name) for name in names]


def _count(table: pa.Table) -> Count:
    return Count(table.num_rows, pc.sum(table["kept"]).as_py() or 0, pc.sum(table["tokens"]).as_py() or 0)


def _grouped(table: pa.Table, keys: list[str]) -> Iterable[tuple[Any, Count]]:
    grouped = table.group_by(keys).aggregate([([], "count_all"), ("kept", "sum"), ("tokens", "sum")])
    for row in grouped.to_pylist():
        yield tuple(row[key] for key in keys), Count(row["count_all"], row["kept_sum"], row["tokens_sum"])


def _add(sums: dict[Any, Count], counts: Iterable[tuple[Any, Count]]) -> None:
    for key, count in counts:
        sums[key] = sums.get(key, Count()) + count


def _by_documents(sums: Mapping[Any, Count]) -> list[tuple[Any, Count]]:
    return sorted(sums.items(), key=lambda item: (-item[1].documents, str(item[0])))


def _add_perplexities(histograms: dict[str, HistogramCounter], scored: pa.Table) -> None:
    for language in pc.unique(scored["label"]).to_pylist():
        counter = histograms.setdefault(language, HistogramCounter(_PERPLEXITY_EDGES, BUCKETS, logarithmic=True))
        spoken = scored.filter(pc.equal(scored["label"], language))
        for bucket in BUCKETS:
            values = spoken.filter(pc.equal(spoken["bucket"], bucket))["perplexity"]
            counter.add(bucket, values.to_numpy())


def _perplexities(
    buckets: Mapping[Any, Count], histograms: Mapping[str, HistogramCounter]
) -> tuple[LanguagePerplexity, ...]:
    found = [
        LanguagePerplexity(
            language,
            tuple((bucket, buckets[language, bucket]) for bucket in BUCKETS if (language, bucket) in buckets),
            counter.result(),
        )
        for language, counter in histograms.items()
    ]
    return tuple(sorted(found, key=lambda item: (-item.histogram.total, item.language)))


def _numeric(rules: Sequence[Mapping[str, Any]], build: BuildParts, source: str) -> list[Mapping[str, Any]]:
    bounded = [rule for rule in rules if rule["at_least"] is not None or rule["at_most"] is not None]
    return [rule for rule in bounded if build.artifact(source, rule["column"].partition(".")[0]) is not None]


class _RuleCounter:
    """Counts the values of one rule's column, separately for those that pass and those that fail."""

    def __init__(self, reader: PartReader, build: BuildParts, source: str, rule: Mapping[str, Any]) -> None:
        self._source, self._reason = source, rule["reason"]
        self.step, _, self.column = rule["column"].partition(".")
        self._at_least, self._at_most = rule["at_least"], rule["at_most"]
        self._missing_fails = rule["missing"] == "fails"
        self._rule = Rule.model_validate(rule)
        least, most = value_range(reader, build.parts(source, self.step), self.column) or (0.0, 1.0)
        edges, logarithmic = edges_between(least, most)
        self._histogram = HistogramCounter(edges, ("passes", "fails"), logarithmic)
        self._fails = self._missing = 0

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Step and column of what it looks at."""
        thresholds = self._rule.thresholds
        return [(threshold.step, threshold.column.partition(".")[2]) for threshold in thresholds]

    def add(self, shard: pa.Table) -> None:
        applies = self._rule.applies(shard)
        if applies is not None:
            shard = shard.filter(applies)
        column = shard[f"{self.step}.{self.column}"]
        values = column.drop_null().to_numpy()
        fails = np.zeros(len(values), dtype=bool)
        if self._at_least is not None:
            fails |= values < self._at_least
        if self._at_most is not None:
            fails |= values > self._at_most
        self._histogram.add("passes", values[~fails])
        self._histogram.add("fails", values[fails])
        self._missing += column.null_count
        self._fails += int(fails.sum()) + (column.null_count if self._missing_fails else 0)

    def result(self) -> RuleView:
        return RuleView(
            self._source,
            self.step,
            self.column,
            self._reason,
            self._at_least,
            self._at_most,
            self._fails,
            self._missing,
            self._histogram.result(),
        )
