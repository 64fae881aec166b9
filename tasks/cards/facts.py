"""The facts of a corpus, counted from its artifacts; each figure names the artifact that it is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.engine.shards import PartReader
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.tables import read_table
from tasks.builds import BuildRecord
from tasks.report.judged import BuildParts, judged_shards
from tasks.report.samples import Place, SampleDocument, Samples, deciding_columns, describe_sample
from tasks.text.urls import domain_of
from tasks.token_artifact import HELD_OUT, VALIDATION, read_summary


@dataclass(slots=True)
class Size:
    """An amount of text: documents, UTF-8 bytes after all edits, and tokens with those that end documents."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0

    def add(self, documents: int, bytes: int, tokens: int) -> None:
        """Add to this amount."""
        self.documents += documents
        self.bytes += bytes
        self.tokens += tokens


@dataclass(frozen=True, slots=True)
class Left:
    """Documents that were left out for one reason: ``step:dropped:reason``, with examples and the rule's columns."""

    source: str
    outcome: str
    documents: int
    bytes: int
    columns: tuple[str, ...]
    examples: tuple[SampleDocument, ...]


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A step that documents of a source went through. `source` is "across" for a step of all sources."""

    source: str
    name: str
    stage: str
    version: int
    config: Mapping[str, Any]
    models: tuple[str, ...]
    key: str


@dataclass(slots=True)
class SourceFacts:
    """A source of a corpus. Domains are None for documents without a URL; dates are those of documents in the corpus.

    `read` counts the records of its files. `share` is its part of the training tokens, by the recipe.
    """

    name: str
    reader: str
    files: int
    read: int
    share: float | None = None
    held_out: int = 0
    size: Size = field(default_factory=Size)
    licences: dict[str | None, Size] = field(default_factory=dict)
    languages: dict[str | None, Size] = field(default_factory=dict)
    domains: dict[str | None, Size] = field(default_factory=dict)
    first_date: str | None = None
    last_date: str | None = None
    undated: int = 0


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus. `artifacts` maps names such as ``crawl/corpus`` to ``stage/key`` of the manifests."""

    name: str
    build: BuildRecord
    vocabulary: int
    sources: tuple[SourceFacts, ...]
    steps: tuple[StepFacts, ...]
    left: tuple[Left, ...]
    unread: Mapping[str, Mapping[str, int]]
    artifacts: Mapping[str, str]
    corpora: Mapping[str, Manifest]

    @property
    def size(self) -> Size:
        """All sources together."""
        found = Size()
        for source in self.sources:
            found.add(source.size.documents, source.size.bytes, source.size.tokens)
        return found

    def together(self, what: str) -> dict[str | None, Size]:
        """`licences`, `languages` or `domains` of all sources, the largest first."""
        found: dict[str | None, Size] = {}
        for source in self.sources:
            for name, size in getattr(source, what).items():
                found.setdefault(name, Size()).add(size.documents, size.bytes, size.tokens)
        return dict(sorted(found.items(), key=lambda item: (-item[1].bytes, item[0] or "")))


def collect_facts(lake: Lake, build: BuildRecord, name: str, reader: PartReader) -> CorpusFacts:
    """Count a corpus, shard by shard. Raises NotThere and Corrupt for artifacts that are missing or inconsistent."""
    build.require_documents()
    manifests = {artifact: build.manifest(lake, artifact) for artifact in build.artifacts}
    parts = BuildParts(manifests, tuple(build.sources))
    summary = read_summary(lake, manifests["tokens"])
    rules = {source: body["rules"] for source, body in build.recipe["sources"].items()}
    sources: list[SourceFacts] = []
    left: list[Left] = []
    for source in parts.sources:
        facts = _source(build, manifests, source, summary)
        left += _count(reader, parts, facts, deciding_columns(rules))
        sources.append(facts)
    return CorpusFacts(
        name,
        build,
        summary["vocabulary"],
        tuple(sources),
        tuple(_steps(build, manifests)),
        tuple(left),
        {source: _unread(manifests[f"{source}/documents"]) for source in parts.sources},
        {artifact: f"{stage}/{key}" for artifact, (stage, key) in build.artifacts.items()},
        {source: manifests[f"{source}/corpus"] for source in parts.sources},
    )


def _source(
    build: BuildRecord, manifests: Mapping[str, Manifest], source: str, summary: Mapping[str, Any]
) -> SourceFacts:
    documents = manifests[f"{source}/documents"]
    shares = [share for name, share in summary["mixture"].items() if name == source or name.startswith(f"{source}.")]
    return SourceFacts(
        source,
        build.recipe["sources"][source]["read"]["stage"],
        len(documents.details.get("files", [])),
        documents.account.rows_in,
        sum(shares) if shares else None,
        sum(
            counts["tokens"]
            for name, counts in summary["sources"].items()
            if name.endswith((HELD_OUT, VALIDATION)) and name.partition(".")[0] == source
        ),
    )


def _count(
    reader: PartReader, parts: BuildParts, facts: SourceFacts, columns: Mapping[tuple[str, str], list[str]]
) -> Iterator[Left]:
    """Count the documents of a source into its facts, and yield those that were left out, the most first."""
    source = facts.name
    language = next(iter(parts.steps_of(source, "language")[-1:]), None)
    wanted = {"rules": ["length"], **({language: ["label"]} if language else {})}
    out: dict[str, tuple[Size, Samples]] = {}
    for number, shard in enumerate(judged_shards(reader, parts, source, wanted)):
        part = parts.documents(source).parts[number]
        stored = read_table(reader.path(part), ["id", "url", "date", "licence"])
        outcome = read_table(reader.path(parts.part(source, "outcomes", number)), ["outcome"], about=part.content)
        lengths = shard["rules.length"].to_numpy()
        kept = shard["kept"].to_numpy(zero_copy_only=False)
        _add_kept(facts, stored, shard, language, lengths)
        names = outcome["outcome"].to_numpy(zero_copy_only=False)
        for name in np.unique(names[~kept]).tolist():
            rows = np.flatnonzero(names == name)
            size, samples = out.setdefault(name, (Size(), Samples()))
            size.add(len(rows), int(lengths[rows].sum()), 0)
            ids = stored["id"].take(pa.array(rows)).to_pylist()
            samples.add((identity, Place(source, number, int(row))) for identity, row in zip(ids, rows, strict=True))
    for name, (size, samples) in sorted(out.items(), key=lambda item: -item[1][0].documents):
        asked = columns.get((source, name), [])
        examples = tuple(describe_sample(reader, parts, place, asked) for place in samples.places)
        yield Left(source, name, size.documents, size.bytes, tuple(asked), examples)


def _add_kept(facts: SourceFacts, stored: pa.Table, shard: pa.Table, language: str | None, lengths: np.ndarray) -> None:
    table = pa.table(
        {
            "kept": shard["kept"],
            "bytes": pa.array(lengths),
            "tokens": shard["tokens"],
            "licence": stored["licence"],
            "domain": pa.array([domain_of(url) for url in stored["url"].to_pylist()], pa.string()),
            "language": shard[f"{language}.label"] if language else pa.nulls(stored.num_rows, pa.string()),
            "date": stored["date"],
        }
    ).filter(shard["kept"])
    facts.size.add(table.num_rows, pc.sum(table["bytes"]).as_py() or 0, pc.sum(table["tokens"]).as_py() or 0)
    for column, sizes in (("licence", facts.licences), ("domain", facts.domains), ("language", facts.languages)):
        summed = table.group_by(column).aggregate([("bytes", "count"), ("bytes", "sum"), ("tokens", "sum")])
        for row in summed.to_pylist():
            size = sizes.setdefault(row[column], Size())
            size.add(row["bytes_count"], row["bytes_sum"], row["tokens_sum"])
    days = [date[:10] for date in table["date"].to_pylist() if date]
    facts.undated += table.num_rows - len(days)
    if days:
        facts.first_date = min(filter(None, (facts.first_date, min(days))))
        facts.last_date = max(filter(None, (facts.last_date, max(days))))


def _unread(documents: Manifest) -> dict[str, int]:
    """The records of a source that became no document, by reason."""
    return {**documents.account.dropped, **documents.account.failed}


def _steps(build: BuildRecord, manifests: Mapping[str, Manifest]) -> Iterator[StepFacts]:
    listed: list[tuple[str, Sequence[Mapping[str, Any]]]] = [
        (source, build.recipe["sources"][source]["steps"]) for source in build.sources
    ]
    for scope, steps in [*listed, ("across", build.recipe["across"])]:
        for step in steps:
            manifest = manifests.get(f"{scope}/{step['name']}")
            if manifest is not None:
                models = tuple(sorted(manifest.models))
                yield StepFacts(
                    scope, step["name"], manifest.stage, manifest.version, manifest.config, models, manifest.key
                )
