"""Collects the data of a report from stored records. Its numbers are those of the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.engine.shards import PartReader
from infra.store.lake import Lake
from infra.store.ledger import Account, BooksDoNotBalance, total
from infra.store.manifest import Manifest
from tasks.builds import BuildRecord
from tasks.report.distributions import Distributions, distributions
from tasks.report.duplicates import NearDuplicates, near_duplicates_of
from tasks.report.forecast import Compared, compared_with_forecast
from tasks.report.funnel import FunnelEntry
from tasks.report.judged import BuildParts
from tasks.report.training import Training, training_of
from tasks.token_artifact import HELD_OUT, read_summary


@dataclass(frozen=True, slots=True)
class Reason:
    """Why documents were removed at a step; bytes are payload bytes at the source and UTF-8 text bytes elsewhere."""

    name: str
    failed: bool
    documents: int
    bytes: int
    example: str


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """An entry of the build's ledger. With `payload`, bytes count records; otherwise text."""

    stage: str
    documents_in: int
    documents_kept: int
    reasons: tuple[Reason, ...]
    bytes_in: int
    bytes_kept: int
    bytes_struck: int
    payload: bool
    lost_per_million_words: float | None = None
    unreadable_dates: int = 0


@dataclass(frozen=True, slots=True)
class StageRecord:
    """An artifact of the build: its account and its cost."""

    name: str
    stage: str
    version: int
    key: str
    digest: str
    parts: int
    bytes: int
    account: Account
    worker_seconds: float
    libraries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TokenSource:
    """The tokens of one source, for training and held out; `mixture` is its share of training in the recipe."""

    name: str
    documents: int
    tokens: int
    held_out_documents: int
    held_out_tokens: int
    mixture: float


@dataclass(frozen=True, slots=True)
class ReportData:
    """A build, and a training run on its tokens if there is one."""

    recipe: dict[str, Any]
    key: str
    digest: str
    created: str
    lake: str
    documents: int
    tokens: int
    vocabulary: int
    funnel: tuple[FunnelStep, ...]
    source_funnels: Mapping[str, tuple[FunnelStep, ...]]
    stages: tuple[StageRecord, ...]
    sources: tuple[TokenSource, ...]
    distributions: Distributions
    near_duplicates: tuple[NearDuplicates, ...]
    training: Training | None
    forecast: Compared | None = None

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the corpus."""
        return self.funnel[-1].bytes_kept

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes per token of the corpus, for estimating the tokens of text that was never encoded."""
        return self.text_bytes / self.tokens if self.tokens else None


def collect_report(lake: Lake, build: BuildRecord, cache: Path, run: str | None = None) -> ReportData:
    """Collect a report, with the training run of the key `run` if given. `cache` holds copies of remote parts.

    Raises NotThere and Corrupt for artifacts that are missing or inconsistent, BooksDoNotBalance if the counts in the
    parts differ from the ledger, and ValueError for a run on other tokens.
    """
    manifests = {name: build.manifest(lake, name) for name in build.artifacts}
    reader = PartReader(lake, cache)
    parts = BuildParts(manifests, tuple(build.sources))
    summary = read_summary(lake, manifests["tokens"])
    rules = {name: source["rules"] for name, source in build.recipe["sources"].items()}
    counted = distributions(reader, parts, rules)
    _check(build, manifests, counted)
    return ReportData(
        recipe=build.recipe,
        key=build.key,
        digest=build.digest,
        created=build.created,
        lake=lake.uri,
        documents=build.documents,
        tokens=build.tokens,
        vocabulary=summary["vocabulary"],
        funnel=_funnel(build.ledger, manifests, build.sources),
        source_funnels={name: _funnel(build.source_ledgers[name], manifests, [name]) for name in build.sources},
        stages=tuple(_stage(name, manifest) for name, manifest in manifests.items()),
        sources=_sources(summary),
        distributions=counted,
        near_duplicates=near_duplicates_of(reader, parts),
        training=None if run is None else training_of(lake, run, manifests["tokens"]),
        forecast=compared_with_forecast(lake, build, manifests),
    )


def _funnel(
    ledger: list[dict[str, Any]], manifests: dict[str, Manifest], sources: Sequence[str]
) -> tuple[FunnelStep, ...]:
    source = total(manifests[f"{name}/documents"].account for name in sources)
    corpus = total(manifests[f"{name}/corpus"].account for name in sources)
    steps = []
    for number, entry in enumerate(ledger):
        stage = entry["stage"]
        account, prefix = (source, "") if number == 0 else (corpus, f"{stage}:")
        reasons = [
            _reason(account, stage, prefix + name, failed, count)
            for failed in (False, True)
            for name, count in sorted(entry["failed" if failed else "dropped"].items(), key=lambda item: -item[1])
        ]
        steps.append(
            FunnelStep(
                stage,
                entry["documents_in"],
                entry["documents_kept"],
                tuple(reasons),
                entry["bytes_in"],
                entry["bytes_kept"],
                entry["bytes_struck"],
                payload=number == 0,
                lost_per_million_words=FunnelEntry(**entry).lost_per_million_words,
                unreadable_dates=FunnelEntry(**entry).measures.get("unreadable_dates", 0),
            )
        )
    return tuple(steps)


def _reason(account: Account, stage: str, fate: str, failed: bool, count: int) -> Reason:
    name = fate.removeprefix(f"{stage}:")
    places = (failure_place(failure) for failure in account.failures if failure["reason"] == name)
    example = account.examples.get(fate) or next(places, "")
    return Reason(name, failed, count, account.bytes_out.get(fate, 0), example)


def failure_place(failure: dict[str, Any]) -> str:
    """The location of a failure in an account: the document, or the file and byte."""
    if "document" in failure:
        return str(failure["document"])
    offset = failure.get("offset")
    return f"{failure['file']}" if offset is None else f"{failure['file']}, byte {offset:,}"


def _stage(name: str, manifest: Manifest) -> StageRecord:
    return StageRecord(
        name=name,
        stage=manifest.stage,
        version=manifest.version,
        key=manifest.key,
        digest=manifest.digest,
        parts=len(manifest.parts),
        bytes=sum(part.bytes for part in manifest.parts),
        account=manifest.account,
        worker_seconds=manifest.cost.get("worker_seconds", 0.0),
        libraries=tuple(sorted(manifest.libraries.items())),
    )


def _sources(summary: dict[str, Any]) -> tuple[TokenSource, ...]:
    written = summary["sources"]
    nothing = {"documents": 0, "tokens": 0}
    return tuple(
        TokenSource(
            name=name,
            documents=written.get(name, nothing)["documents"],
            tokens=written.get(name, nothing)["tokens"],
            held_out_documents=written.get(name + HELD_OUT, nothing)["documents"],
            held_out_tokens=written.get(name + HELD_OUT, nothing)["tokens"],
            mixture=share,
        )
        for name, share in sorted(summary["mixture"].items())
    )


def _check(build: BuildRecord, manifests: dict[str, Manifest], counted: Distributions) -> None:
    read = sum(manifests[f"{name}/documents"].account.kept for name in build.sources)
    said = (read, build.documents, build.tokens)
    found = (counted.total.documents, counted.total.kept, counted.total.tokens)
    if found != said:
        raise BooksDoNotBalance(
            f"the parts of the build {build.key} hold {found[0]} documents, {found[1]} kept, {found[2]} tokens; "
            f"its ledger says {said[0]}, {said[1]} and {said[2]}: `millrace verify` finds the wrong part"
        )
