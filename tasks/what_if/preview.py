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
from tasks.builds import BuildRecord
from tasks.recipe.difference import Difference, differences
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe
from tasks.report.judged import BuildParts
from tasks.report.samples import Place, SampleDocument, deciding_columns, describe_sample
from tasks.token_artifact import read_summary
from tasks.what_if.arrivals import Arrivals, encoder_of
from tasks.what_if.judging import NotScored, judge, tasks_of_verdicts
from tasks.what_if.prediction import Amount, ChangeName, GroupName, predict

IN_CORPUS = "in the corpus"
_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class SeenDocument:
    """A document that would change, and the beginning of its text."""

    document: SampleDocument
    text: str


@dataclass(frozen=True, slots=True)
class SeenChange:
    """What documents of a source are, and would be: in the corpus, or ``step:dropped:reason``. `tokens` are theirs."""

    source: str
    before: str
    after: str
    documents: int
    tokens: int
    samples: tuple[SeenDocument, ...]


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
    columns = deciding_columns(_rules(original)) | deciding_columns(_rules(changed))
    changes = tuple(
        SeenChange(
            *(name.source, name.before or IN_CORPUS, name.after or IN_CORPUS, change.documents, change.tokens),
            tuple(_sample(place, name, columns, reader, after, arrivals) for place in change.samples.places),
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
        tuple(_notes(original.recipe, changed.recipe, found.estimated)),
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


def _rules(resolved: ResolvedRecipe) -> dict[str, list[dict[str, Any]]]:
    values = resolved.recipe.model_dump(mode="json")
    return {name: source["rules"] for name, source in values["sources"].items()}


def _sample(
    place: Place,
    name: ChangeName,
    columns: Mapping[tuple[str, str], list[str]],
    reader: PartReader,
    build: BuildParts,
    arrivals: Arrivals,
) -> SeenDocument:
    asked = [column for outcome in (name.before, name.after) for column in columns.get((name.source, outcome), [])]
    document = describe_sample(reader, build, place, list(dict.fromkeys(asked)))
    [text] = arrivals.texts(place.source, place.shard, np.array([place.row]), build).to_pylist()
    return SeenDocument(document, text[:_CHARACTERS])


def _notes(before: Recipe, after: Recipe, estimated: int) -> list[str]:
    notes = []
    if after.tokenizer.file is None:
        notes.append("Tokens are those of the build's tokenizer; a build would fit one to the changed corpus.")
    elif after.tokenizer != before.tokenizer:
        notes.append("Tokens are those of the build's tokenizer; a build would encode with the other one.")
    if estimated:
        notes.append(f"{estimated:,} of the tokens are estimated from the text that was encoded.")
    return notes
