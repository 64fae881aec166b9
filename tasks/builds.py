"""The record of a build: its artifacts and its funnels. Names, reports and `explain` read it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt, NotThere, StoreError
from infra.store.lake import Lake
from infra.store.manifest import Manifest, read_manifest
from infra.store.names import all_names, look_up
from tasks.recipe.resolved import ResolvedRecipe, ResolvedSource
from tasks.recipe.schema import Source
from tasks.report.funnel import source_funnel, whole_funnel

TOKENS = "tokens"
_ORDERED = ("sources", "references", "models")  # mappings of a recipe


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """A build. `digest` is the digest of its tokens.

    `artifacts` maps names such as ``crawl/language``, ``across/near_duplicates`` or ``tokens`` to the stage and key of
    the artifact. `ledger` is the funnel of all sources; `source_ledgers` contains one per source.
    """

    key: str
    digest: str
    recipe: dict[str, Any]
    artifacts: dict[str, list[str]]
    digests: dict[str, str]
    ledger: list[dict[str, Any]]
    source_ledgers: dict[str, list[dict[str, Any]]]
    documents: int
    tokens: int
    created: str

    @classmethod
    def make(cls, recipe: dict[str, Any], made: Mapping[str, Manifest], **counts: Any) -> BuildRecord:
        """The record of a recipe's artifacts. Its key depends on both, except for the locations of the inputs."""
        artifacts = {name: [manifest.stage, manifest.key] for name, manifest in made.items()}
        places = {
            section: {name: {**body, "inputs": []} for name, body in recipe[section].items()}
            for section in ("sources", "references")
            if section in recipe
        }
        return cls(
            key=key_of({"recipe": {**recipe, **places}, "artifacts": artifacts}),
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

    def corpora(self, lake: Lake) -> dict[str, Manifest]:
        """The corpus of each source, keyed by the name of the artifact."""
        return {f"{source}/corpus": self.manifest(lake, f"{source}/corpus") for source in self.sources}


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
    """Every build of the lake, the newest first."""
    records = [_read(lake, entry.path) for entry in lake.list("builds")]
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
        return _read(lake, build_path(reference.key))
    if "/" in name:
        known = ", ".join(known for known, _ in all_names(lake)) or "none"
        raise StoreError(f"{lake.uri} has no name {name}; its names are: {known}")
    found = [entry.path for entry in lake.list("builds") if entry.path.removeprefix("builds/").startswith(name)]
    if len(found) != 1:
        raise StoreError(
            f"{len(found)} builds of {lake.uri} have keys that start with {name}; `millrace artifacts` lists them"
        )
    return _read(lake, found[0])


def _steps_that_drop(resolved: ResolvedRecipe, source: ResolvedSource) -> list[str]:
    """Steps that change text, then steps of rules, then steps that find duplicates: the order of a funnel."""
    assert isinstance(source.section, Source)
    steps = (*source.steps, *resolved.across)
    duplicates = [step.name for step in steps if step.stage.gives_clusters]
    return list(dict.fromkeys([*resolved.edits(source), *(rule.step for rule in source.section.rules), *duplicates]))


def _read(lake: Lake, path: str) -> BuildRecord:
    try:
        values = lake.read_json(path)
        order = values.pop("order")
        values["artifacts"] = {name: values["artifacts"][name] for name in order["artifacts"]}
        for name in _ORDERED:
            if name in order:
                values["recipe"][name] = {key: values["recipe"][name][key] for key in order[name]}
        return BuildRecord(**values)
    except (TypeError, KeyError, AttributeError) as error:
        raise Corrupt(f"{lake.uri}/{path} is not a build record that this version can read: {error}") from error
