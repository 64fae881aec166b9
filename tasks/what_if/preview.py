"""The preview of a changed recipe: what differs, what it would keep, and samples of what would change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.engine.plans import Progress
from infra.engine.pool import Engine
from infra.engine.shards import PartReader
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.tables import read_table
from tasks.builds import BuildRecord
from tasks.recipe.difference import Difference, differences
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe, Source
from tasks.report.judged import BuildParts
from tasks.token_artifact import read_summary
from tasks.what_if.arrivals import Arrivals, encoder_of
from tasks.what_if.judging import NotScored, judge, tasks_of_verdicts
from tasks.what_if.prediction import Amount, ChangeName, GroupName, Place, predict

IN_CORPUS = "in the corpus"
_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class SampleDocument:
    """A document that would change: the values that decide, and the beginning of its text."""

    id: str
    url: str | None
    values: dict[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class SeenChange:
    """What documents of a source are, and would be: in the corpus, or ``step:dropped:reason``. `tokens` are theirs."""

    source: str
    before: str
    after: str
    documents: int
    tokens: int
    samples: tuple[SampleDocument, ...]


@dataclass(frozen=True)
class Preview:
    """What a changed recipe would keep of a build's documents, without inputs that came later."""

    build: str
    differences: tuple[Difference, ...]
    groups: tuple[tuple[GroupName, Amount], ...]
    total: Amount
    changes: tuple[SeenChange, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        groups = [{**name._asdict(), **asdict(amount)} for name, amount in self.groups]
        return {**asdict(self), "groups": groups}


def preview(
    lake: Lake, engine: Engine, build: BuildRecord, changed: ResolvedRecipe, cache: Path, progress: Progress
) -> Preview:
    """Preview a changed recipe over the documents of a build. Raises NotScored where the change has to be built."""
    build.require_documents()
    original = resolve(Recipe.model_validate(build.recipe))
    manifests = {name: build.manifest(lake, name) for name in build.artifacts}
    then = judge(
        lake, engine, tasks_of_verdicts(changed), _read(original, changed, manifests), build.key[:12], progress
    )
    reader = PartReader(lake, cache)
    parts = BuildParts(manifests, tuple(build.sources))
    edits = {source.name: changed.edits(source) for source in changed.sources}
    summary = read_summary(lake, manifests["tokens"])
    arrivals = Arrivals(reader, encoder_of(reader, manifests["tokens"], summary), edits)
    found = predict(reader, parts, then, arrivals)
    after = BuildParts({**manifests, **then}, parts.sources)
    rules = _rules(original) | _rules(changed)
    changes = tuple(
        SeenChange(
            *(name.source, name.before or IN_CORPUS, name.after or IN_CORPUS, change.documents, change.tokens),
            tuple(_sample(place, name, rules, reader, after, arrivals) for place in change.samples()),
        )
        for name, change in found.changes.items()
    )
    groups = sorted(found.groups.items(), key=lambda item: (item[0].source, -item[1].documents, str(item[0])))
    return Preview(
        build.key,
        tuple(one for one in differences(original, changed) if not one.path.endswith(".inputs")),
        tuple(groups),
        found.total(),
        changes,
        tuple(_notes(changed.recipe, found.estimated)),
    )


def _read(original: ResolvedRecipe, changed: ResolvedRecipe, manifests: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """The documents of the build: those of its inputs as they were, whatever lies there now."""
    origins = {source.name: source for source in (*original.sources, *original.references)}
    found = {}
    for source in (*changed.sources, *changed.references):
        before = origins.get(source.name)
        if before is None or before.section.read != source.section.read:
            raise NotScored(f"this change has to be built: the build did not read {source.name} in this way")
        found[f"{source.name}/documents"] = manifests[f"{source.name}/documents"]
    if [source.name for source in changed.sources] != [source.name for source in original.sources]:
        raise NotScored("this change has to be built: it has other sources than the build, or in another order")
    return found


def _rules(resolved: ResolvedRecipe) -> dict[tuple[str, str], list[str]]:
    """The columns that decide, by source and outcome."""
    found: dict[tuple[str, str], list[str]] = {}
    for source in resolved.sources:
        assert isinstance(source.section, Source)
        for rule in source.section.rules:
            columns = found.setdefault((source.name, f"{rule.step}:dropped:{rule.reason}"), [])
            columns += [rule.column] if rule.column not in columns else []
    return found


def _sample(
    place: Place,
    name: ChangeName,
    rules: Mapping[tuple[str, str], list[str]],
    reader: PartReader,
    build: BuildParts,
    arrivals: Arrivals,
) -> SampleDocument:
    part = build.documents(place.source).parts[place.shard]
    stored = read_table(reader.path(part), ["id", "url"]).slice(place.row, 1).to_pylist()[0]
    values = {}
    for column in dict.fromkeys(
        column for one in (name.before, name.after) for column in rules.get((name.source, one), [])
    ):
        step, _, own = column.partition(".")
        annotation = read_table(reader.path(build.part(place.source, step, place.shard)), [own], about=part.content)
        values[column] = annotation[own][place.row].as_py()
    [text] = arrivals.texts(place.source, place.shard, np.array([place.row]), build).to_pylist()
    return SampleDocument(stored["id"], stored["url"], values, text[:_CHARACTERS])


def _notes(recipe: Recipe, estimated: int) -> list[str]:
    notes = []
    if recipe.tokenizer.file is None:
        notes.append("Tokens are those of the build's tokenizer; a build would fit one to the changed corpus.")
    if estimated:
        notes.append(f"{estimated:,} of the tokens are estimated from the text that was encoded.")
    return notes
