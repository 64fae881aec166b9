"""The record of a build: its artifacts and its funnels. Names, reports and `explain` read it."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt, NotThere, StoreError
from infra.store.lake import Lake
from infra.store.manifest import Manifest, manifest_at, manifest_path, read_manifest
from infra.store.names import all_names, look_up
from infra.store.schema import Component, Count, Digest, read_value
from tasks.recipe.resolved import ResolvedRecipe, ResolvedSource
from tasks.recipe.schema import Source
from tasks.report.funnel import FunnelEntry, source_funnel, whole_funnel
from tasks.tokenizer import END_OF_TEXT

TOKENS = "tokens"
_CURE = "Delete it, then build again: what its artifacts hold stays"
_logger = logging.getLogger("millrace.builds")
_ORDERED = ("sources", "references", "models")  # mappings of a recipe


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """A build. `digest` is the digest of its tokens.

    `artifacts` maps names such as ``crawl/language``, ``across/near_duplicates`` or ``tokens`` to the stage and key of
    the artifact. `ledger` is the funnel of all sources; `source_ledgers` contains one per source.
    """

    key: Digest
    digest: Digest
    recipe: dict[str, Any]
    artifacts: dict[str, tuple[Component, Digest]]
    digests: dict[str, Digest]
    ledger: list[dict[str, Any]]
    source_ledgers: dict[str, list[dict[str, Any]]]
    documents: Count
    tokens: Count
    created: str

    @classmethod
    def make(cls, recipe: dict[str, Any], made: Mapping[str, Manifest], **counts: Any) -> BuildRecord:
        """The record of a recipe's artifacts. Its key depends on both, except for the locations of the inputs."""
        artifacts = {name: (manifest.stage, manifest.key) for name, manifest in made.items()}
        return cls(
            key=_key(recipe, artifacts),
            digest=made[TOKENS].digest,
            recipe=recipe,
            artifacts=artifacts,
            digests={name: manifest.digest for name, manifest in made.items()},
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **counts,
        )

    @property
    def path(self) -> str:
        """Its path in the lake."""
        return build_path(self.key)

    @property
    def sources(self) -> list[str]:
        """The names of its sources, in order."""
        return list(self.recipe["sources"])

    def manifest(self, lake: Lake, name: str) -> Manifest:
        """The manifest of one of its artifacts. Raises NotThere if it has none of that name, or it was deleted."""
        found = read_manifest(lake, *self.artifacts[name]) if name in self.artifacts else None
        if found is None:
            raise NotThere(
                f"the build {self.key[:12]} has no artifact {name}. If the lake was upgraded, annotations were not "
                "carried over: run the same `millrace build` again to recompute them"
            )
        return found

    def require_documents(self) -> None:
        """Raises NotThere for a build without documents: tokens that were imported."""
        if set(self.artifacts) == {TOKENS}:
            raise NotThere(f"the build {self.key[:12]} was imported as tokens: it has no documents")

    def corpora(self, lake: Lake) -> dict[str, Manifest]:
        """The corpus of each source, keyed by the name of the artifact. Raises as `require_documents` does."""
        self.require_documents()
        return {f"{source}/corpus": self.manifest(lake, f"{source}/corpus") for source in self.sources}


def manifests_of(lake: Lake, record: BuildRecord) -> tuple[dict[str, Manifest], dict[str, str]]:
    """The manifests of a build's artifacts by name, and the paths of those that cannot be read, with the reason."""
    made: dict[str, Manifest] = {}
    unreadable: dict[str, str] = {}
    for name, (stage, key) in record.artifacts.items():
        try:
            made[name] = manifest_at(lake, manifest_path(stage, key))
        except NotThere:
            unreadable[manifest_path(stage, key)] = f"the artifact {name} does not exist"
        except Corrupt as error:
            unreadable[manifest_path(stage, key)] = str(error)
    return made, unreadable


def disagreements(lake: Lake, record: BuildRecord, made: Mapping[str, Manifest]) -> Iterator[tuple[str, str]]:
    """What contradicts what in a build: (path of the object to distrust, problem).

    `made` are the manifests of its artifacts, without those that cannot be read. Compares the record with its own key,
    with the names that point to it, and with the manifests.
    """
    if _key(record.recipe, record.artifacts) != record.key:
        yield record.path, "its key does not follow from its recipe and its artifacts"
    if record.digests.get(TOKENS) != record.digest:
        yield record.path, "its digest is not that of its tokens"
    for name, reference in all_names(lake):
        if reference.stage == "build" and reference.key == record.key and reference.digest != record.digest:
            yield record.path, f"the name {name} points to another digest of it, {reference.digest[:12]}"
    for name, manifest in made.items():
        if record.digests.get(name) != manifest.digest:
            yield manifest.path, f"it has the digest {manifest.digest[:12]}, and the build's {name} had another"
    corpora = [manifest for name, manifest in made.items() if name in {f"{one}/corpus" for one in record.sources}]
    rows = sum(manifest.rows for manifest in corpora)
    if len(corpora) == len(record.sources) and rows != record.documents:
        yield record.path, f"it counts {record.documents} documents, and its corpora have {rows}"


def ledgers(resolved: ResolvedRecipe, made: Mapping[str, Manifest]) -> dict[str, Any]:
    """The fields `ledger`, `source_ledgers` and `documents` of a record. Raises BooksDoNotBalance."""
    read = {source.name: made[f"{source.name}/documents"].account for source in resolved.sources}
    corpora = {source.name: made[f"{source.name}/corpus"] for source in resolved.sources}
    steps = {source.name: _steps_that_drop(resolved, source) for source in resolved.sources}
    accounts = {name: manifest.account for name, manifest in corpora.items()}
    rows = sum(manifest.rows for manifest in corpora.values())
    whole = whole_funnel(read, accounts, steps, rows)
    by_source = {name: source_funnel(read[name], accounts[name], steps[name], corpora[name].rows) for name in corpora}
    return {
        "ledger": [entry.to_json() for entry in whole],
        "source_ledgers": {name: [entry.to_json() for entry in entries] for name, entries in by_source.items()},
        "documents": rows,
    }


def build_path(key: str) -> str:
    """The path of the record of the build with that key."""
    return f"builds/{key}.json"


def write_build(lake: Lake, record: BuildRecord) -> None:
    """Write the record of a build to the lake."""
    recipe = record.recipe
    # Objects in the lake have sorted keys, but the order of sources and artifacts is significant.
    order = {"artifacts": list(record.artifacts), **{name: list(recipe[name]) for name in _ORDERED if name in recipe}}
    lake.write_json(record.path, {**asdict(record), "order": order})


def all_builds(lake: Lake) -> Iterator[BuildRecord]:
    """Every build of the lake, the newest first. Logs the records that cannot be read."""
    records = []
    for entry in lake.list("builds"):
        try:
            records.append(read_build(lake, entry.path))
        except Corrupt as error:
            _logger.warning("%s", error)
    yield from sorted(records, key=lambda record: record.created, reverse=True)


def find_build(lake: Lake, name: str | None = None) -> BuildRecord:
    """Find a build by a name such as ``corpus/crawl`` or the start of its key; without either, the newest build.

    Raises StoreError if there is none, or if several keys match.
    """
    if name is None:
        newest = next(all_builds(lake), None)
        if newest is None:
            raise StoreError(f"{lake.uri} has no build yet: create one with `millrace build crawl --input ...`")
        return newest
    reference = look_up(lake, name)
    if reference is not None:
        return read_build(lake, build_path(reference.key))
    if "/" in name:
        known = ", ".join(known for known, _ in all_names(lake)) or "none"
        raise StoreError(f"{lake.uri} has no name {name}; its names are: {known}")
    found = [entry.path for entry in lake.list("builds") if entry.path.removeprefix("builds/").startswith(name)]
    if len(found) != 1:
        raise StoreError(
            f"{len(found)} builds of {lake.uri} have keys that start with {name}; `millrace artifacts` lists them"
        )
    return read_build(lake, found[0])


def _steps_that_drop(resolved: ResolvedRecipe, source: ResolvedSource) -> list[str]:
    """Steps that change text, then steps of rules, then steps that find duplicates: the order of a funnel."""
    assert isinstance(source.section, Source)
    steps = (*source.steps, *resolved.across)
    duplicates = [step.name for step in steps if step.stage.gives_clusters]
    return list(dict.fromkeys([*resolved.edits(source), *(rule.step for rule in source.section.rules), *duplicates]))


def read_build(lake: Lake, path: str) -> BuildRecord:
    """The record at that path. Raises NotThere, and Corrupt when it is damaged or belongs to another path."""
    where = f"{lake.uri}/{path}"
    values = lake.read_json(path)
    order = values.pop("order", None) if isinstance(values, dict) else None
    record: BuildRecord = read_value(BuildRecord, values, where, _CURE)
    orders: dict[str, tuple[str, ...]] = read_value(dict[str, tuple[str, ...]], order, f"{where}: order", _CURE)
    read_value(tuple[FunnelEntry, ...], record.ledger, f"{where}: ledger", _CURE)
    read_value(dict[str, tuple[FunnelEntry, ...]], record.source_ledgers, f"{where}: source_ledgers", _CURE)
    read_value(_Recipe, {"sources": record.recipe.get("sources")}, f"{where}: recipe", _CURE)
    if record.path != path:
        raise Corrupt(f"{where} is the record of {record.path}: someone moved it. {_CURE}")
    recipe = {**record.recipe}
    for name in _ORDERED:
        if name in orders:
            recipe[name] = _ordered(recipe.get(name), orders[name], f"{where}: {name}")
    return replace(record, artifacts=_ordered(record.artifacts, orders.get("artifacts", ()), where), recipe=recipe)


def _ordered(values: Any, order: tuple[str, ...], where: str) -> dict[str, Any]:
    """A mapping in the order in which it was before it lay in the lake."""
    if not isinstance(values, dict) or set(order) != values.keys():
        raise Corrupt(f"{where} and its order have different names. {_CURE}")
    return {name: values[name] for name in order}


def _key(recipe: Mapping[str, Any], artifacts: Mapping[str, Sequence[str]]) -> str:
    """The key of a build: of its artifacts, and of its recipe without the locations of the inputs."""
    places = {
        section: {name: {**body, "inputs": []} for name, body in recipe[section].items()}
        for section in ("sources", "references")
        if section in recipe
    }
    if isinstance(tokenizer := recipe.get("tokenizer"), Mapping):
        # Recipes of older builds lack the field, so its default is not part of the key.
        default = ("end_of_document", END_OF_TEXT)
        places["tokenizer"] = {name: value for name, value in tokenizer.items() if (name, value) != default}
    return key_of({"recipe": {**recipe, **places}, "artifacts": {name: list(one) for name, one in artifacts.items()}})


@dataclass(frozen=True, slots=True)
class _Recipe:
    sources: dict[str, dict[str, Any]]
