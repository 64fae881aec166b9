"""Upgrades a lake from format 1 to format 2. Everything that its names, builds and runs need stays readable.

Format 1 had one pipeline for all sources of a recipe. Its keys contained the stages whose columns a stage reads.

- Documents of sources get their keys of format 2, so no archive is read again.
- Builds get the recipe in its present form, and names point to them. Their corpus and tokens are the same artifacts.
- Annotations are not upgraded; the next build makes them again.
- Parts, runs and checkpoints do not change.

The format number is written last, so an interrupted upgrade can be repeated. The upgrade deletes only the records of
builds that it rewrote; `millrace gc` deletes what no name needs any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.compute as pc
import pydantic

from infra.engine.shards import PartReader
from infra.store.digests import key_of
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import FORMAT, Lake
from infra.store.ledger import Account
from infra.store.manifest import (
    Manifest,
    Part,
    artifact_digest,
    read_manifest,
    read_marker,
    write_manifest,
    write_marker,
)
from infra.store.names import all_names, point
from infra.store.schema import Component, Count, Digest, read_value
from infra.tables import read_row_groups
from tasks.builds import BuildRecord, build_path, write_build
from tasks.recipe.old_form import from_old_form
from tasks.recipe.schema import Recipe
from tasks.settings import RecipeError

OLD_FORMAT = 1
_CARRIED = ("index", "tokenizer", "tokens")


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The counts of an upgrade: rewritten builds, sources with new document keys, moved names."""

    builds: int
    sources: int
    names: int


def upgrade(lake: Lake, progress: Callable[[str, int, int], None] = lambda label, done, total: None) -> Upgrade | None:
    """Upgrade a lake of format 1. Return None if it already has the present format.

    Raises ValueError for another format, NotThere if this is not a lake, and the errors of unreadable records.
    """
    found = lake.format()
    if found == FORMAT:
        return None
    if found != OLD_FORMAT:
        raise ValueError(f"{lake.uri} is a lake of format {found}: this version upgrades only format {OLD_FORMAT}")
    renamed: dict[str, BuildRecord] = {}
    sources: set[str] = set()
    with TemporaryDirectory(prefix="millrace-") as cache:
        entries = [entry.path for entry in lake.list("builds")]
        for number, path in enumerate(entries):
            value = lake.read_json(path)
            if isinstance(value, dict) and "source_ledgers" in value:  # written by an interrupted upgrade
                continue
            old: _OldRecord = read_value(_OldRecord, value, f"{lake.uri}/{path}")
            if build_path(old.key) != path:
                raise Corrupt(f"{lake.uri}/{path} is the record of another build, {old.key[:12]}. Delete it")
            record = _upgraded(lake, old, PartReader(lake, Path(cache)), sources)
            write_build(lake, record)
            renamed[old.key] = record
            progress("builds", number + 1, len(entries))
    moved = 0
    for name, reference in all_names(lake):
        new = renamed.get(reference.key)
        if reference.stage == "build" and new is not None:
            point(lake, name, replace(reference, key=new.key))
            moved += 1
    for key in renamed:
        lake.delete(build_path(key))
    lake.set_format(FORMAT)
    return Upgrade(len(renamed), len(sources), moved)


@dataclass(frozen=True, slots=True)
class _OldRecord:
    """The record of a build in format 1."""

    key: Digest
    digest: Digest
    recipe: dict[str, Any]
    artifacts: dict[str, tuple[Component, Digest]]
    digests: dict[str, Digest]
    ledger: list[dict[str, Any]]
    documents: Count
    tokens: Count
    created: str


def _upgraded(lake: Lake, old: _OldRecord, reader: PartReader, sources: set[str]) -> BuildRecord:
    try:
        recipe = Recipe.model_validate(from_old_form(old.recipe))
    except (pydantic.ValidationError, RecipeError) as error:
        raise Corrupt(f"the recipe of the build {old.key[:12]} cannot be upgraded: {error}") from error
    made: dict[str, Manifest] = {}
    for name, manifest in _documents(lake, old):
        made[f"{name}/documents"] = manifest
        sources.add(manifest.key)
    for name, manifest in _corpora(lake, old, list(recipe.sources), reader):
        made[f"{name}/corpus"] = manifest
    for name in _CARRIED:
        if name in old.artifacts:
            made[name] = _manifest(lake, old, name)
    one = next(iter(recipe.sources)) if len(recipe.sources) == 1 else None
    record = BuildRecord.make(
        recipe.model_dump(mode="json"),
        made,
        ledger=old.ledger,
        source_ledgers={} if one is None else {one: old.ledger},
        documents=old.documents,
        tokens=old.tokens,
    )
    return replace(record, created=old.created)


def _documents(lake: Lake, old: _OldRecord) -> Iterator[tuple[str, Manifest]]:
    """The documents of every source, under their keys of format 2."""
    for name in old.artifacts:
        kind, _, source = name.partition("/")
        if kind != "source":
            continue
        manifest = _manifest(lake, old, name)
        before, after = _identity(manifest, view=[], reads=[]), _identity(manifest)
        files = manifest.details.get("files", [])
        for file in files:
            marker = read_marker(lake, manifest.stage, key_of({"identity": before, "file": file["sha256"]}))
            if marker is not None:
                key = key_of({"identity": after, "file": file["sha256"]})
                write_marker(lake, manifest.stage, replace(marker, key=key))
        inputs = [[file["uri"].rpartition("/")[2], file["sha256"]] for file in files]
        rekeyed = replace(manifest, key=key_of({"identity": after, "inputs": inputs}))
        write_manifest(lake, rekeyed)
        yield source, rekeyed


def _identity(manifest: Manifest, **more: Any) -> dict[str, Any]:
    """The parts of a stage that entered its keys when the artifact was made."""
    return {
        "stage": manifest.stage,
        "version": manifest.version,
        "config": manifest.config,
        "libraries": manifest.libraries,
        "models": manifest.models,
        **more,
    }


def _corpora(lake: Lake, old: _OldRecord, sources: list[str], reader: PartReader) -> Iterator[tuple[str, Manifest]]:
    """The corpus of each source: the old one if there is one source, else its parts grouped by source."""
    whole = _manifest(lake, old, "corpus")
    if len(sources) == 1:
        yield sources[0], whole
        return
    by_source: dict[str, list[Part]] = {name: [] for name in sources}
    for part in whole.parts:
        group = next(read_row_groups(reader.path(part), ["source"]))
        by_source[pc.unique(group["source"]).to_pylist()[0]].append(part)
    for name, parts in by_source.items():
        rows = sum(part.rows for part in parts)
        manifest = replace(
            whole,
            key=key_of({"upgraded": whole.key, "source": name}),
            digest=artifact_digest(parts),
            parts=tuple(parts),
            # The other documents of the source were counted for all sources together.
            account=Account(rows_in=rows, kept=rows),
            details={"upgraded": whole.key},
        )
        write_manifest(lake, manifest)
        yield name, manifest


def _manifest(lake: Lake, old: _OldRecord, name: str) -> Manifest:
    found = read_manifest(lake, *old.artifacts[name]) if name in old.artifacts else None
    if found is None:
        raise NotThere(f"the build {old.key[:12]} has no artifact {name}: build it again with the older version first")
    return found
