"""The record of one build: which artifacts it is made of, and its funnel. What names, reports and `explain` read."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt, NotThere, StoreError
from infra.store.lake import Lake
from infra.store.manifest import Manifest, read_manifest
from infra.store.names import all_names, look_up


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """One build. `digest` is that of its tokens.

    `artifacts` maps a stage, ``source/NAME`` or ``reference/STAGE`` to the stage and key of the artifact.
    """

    key: str
    digest: str
    recipe: dict[str, Any]
    artifacts: dict[str, list[str]]
    digests: dict[str, str]
    ledger: list[dict[str, Any]]
    documents: int
    tokens: int
    created: str

    @classmethod
    def make(cls, recipe: dict[str, Any], made: dict[str, Manifest], **counts: Any) -> BuildRecord:
        """The record of a recipe's artifacts. Its key is of both, but for where the inputs were found."""
        artifacts = {name: [manifest.stage, manifest.key] for name, manifest in made.items()}
        sources = [{**source, "inputs": []} for source in recipe["sources"]]
        return cls(
            key=key_of({"recipe": {**recipe, "sources": sources}, "artifacts": artifacts}),
            digest=made["tokens"].digest,
            recipe=recipe,
            artifacts=artifacts,
            digests={name: manifest.digest for name, manifest in made.items()},
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **counts,
        )

    @property
    def path(self) -> str:
        """Where it lies in the lake."""
        return build_path(self.key)

    def manifest(self, lake: Lake, name: str) -> Manifest:
        """One of its artifacts. Raises NotThere when the build has none of that name, or it is gone."""
        found = read_manifest(lake, *self.artifacts[name]) if name in self.artifacts else None
        if found is None:
            raise NotThere(f"the build {self.key[:12]} has no artifact {name}")
        return found


def build_path(key: str) -> str:
    """Where the record of the build with that key lies."""
    return f"builds/{key}.json"


def write_build(lake: Lake, record: BuildRecord) -> None:
    """Keep the record of a build."""
    lake.write_json(record.path, asdict(record))


def all_builds(lake: Lake) -> Iterator[BuildRecord]:
    """Every build of the lake, the newest first."""
    records = [_read(lake, entry.path) for entry in lake.list("builds")]
    yield from sorted(records, key=lambda record: record.created, reverse=True)


def find_build(lake: Lake, name: str | None = None) -> BuildRecord:
    """The build that a name such as ``corpus/crawl``, or the start of a key, stands for; the newest without one.

    Raises StoreError when there is none, or several keys start so.
    """
    if name is None:
        newest = next(all_builds(lake), None)
        if newest is None:
            raise StoreError(f"{lake.uri} holds no build yet: make one with `millrace build crawl --input ...`")
        return newest
    reference = look_up(lake, name)
    if reference is not None:
        return _read(lake, build_path(reference.key))
    if "/" in name:
        known = ", ".join(known for known, _ in all_names(lake)) or "none"
        raise StoreError(f"nothing is named {name} in {lake.uri}; its names are: {known}")
    found = [entry.path for entry in lake.list("builds") if entry.path.removeprefix("builds/").startswith(name)]
    if len(found) != 1:
        raise StoreError(
            f"{len(found)} builds of {lake.uri} have keys that start with {name}; `millrace artifacts` lists them"
        )
    return _read(lake, found[0])


def _read(lake: Lake, path: str) -> BuildRecord:
    try:
        return BuildRecord(**lake.read_json(path))
    except TypeError as error:
        raise Corrupt(f"{lake.uri}/{path} is no build record that this version can read: {error}") from error
