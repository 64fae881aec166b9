"""Plans turn a stage and its inputs into an artifact: compute keys, run the missing units, write the manifest.

A plan computes the key of its artifact before any work runs. `run` returns the artifact from the lake, or makes it.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from infra.engine.pool import Engine, flatten
from infra.engine.sampling import Sample
from infra.engine.units import Call, FitUnit, PassUnit, SelectUnit, Shard, SourceUnit, shard_identity
from infra.engine.views import View, digests_of, floored_shards
from infra.models import NO_MODEL, ModelFiles
from infra.outcomes import OVER_BUDGET
from infra.stage import Stage, StageConfig
from infra.store.digests import key_of
from infra.store.inputs import InputFile
from infra.store.lake import Lake
from infra.store.ledger import Account, total
from infra.store.manifest import (
    Manifest,
    Marker,
    Part,
    artifact_digest,
    missing_parts,
    read_manifest,
    write_manifest,
)

Progress = Callable[[str, int, int], None]
_logger = logging.getLogger("millrace.engine")


@dataclass(frozen=True)
class ConfiguredStage:
    """A stage with its config and its model files."""

    stage: Stage
    config: StageConfig
    models: ModelFiles = NO_MODEL

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The values that enter keys."""
        return self.stage.identity(self.config, self.models.identity())

    def keyed(self, **inputs: Any) -> Call:
        """The call of one work unit with these inputs; its key is the digest of identity and inputs."""
        key = key_of({"identity": self.identity, **inputs})
        return Call(self.stage.reference, self.config.model_dump_json(), key, self.models)


class Plan(Protocol):
    """Makes the artifact of one stage, or the artifacts of several stages in one pass."""

    @property
    def names(self) -> list[str]:
        """The names of the plan's stages."""

    @property
    def keys(self) -> list[str]:
        """The keys of the plan's artifacts, one for each name."""

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        """Make the artifacts; returns their manifests."""


def present(lake: Lake, plan: Plan, *, whole: bool = False) -> list[Manifest] | None:
    """The plan's artifacts if the lake has all of them, else None. Costs two requests for each artifact.

    With `whole`, one more for each of their parts: an artifact that lacks one is not there.
    """
    found: list[Manifest] = []
    for name, key in zip(plan.names, plan.keys, strict=True):
        manifest = read_manifest(lake, name, key, keep=True)
        if manifest is None or (whole and _lacks_parts(lake, manifest)):
            return None
        found.append(manifest)
    return found


def _lacks_parts(lake: Lake, manifest: Manifest) -> bool:
    gone = missing_parts(lake, manifest.parts)
    for part in gone[:1]:
        _logger.warning(
            "%s %s lacks %d of %d parts, the first is %s: they are made again",
            *(manifest.stage, manifest.key[:12], len(gone), len(manifest.parts), part.name),
        )
    return bool(gone)


@dataclass(frozen=True)
class SourcePlan:
    """Documents from input files, or from a `sample` of their records."""

    configured: ConfiguredStage
    files: tuple[InputFile, ...]
    sample: Sample | None = None

    @property
    def names(self) -> list[str]:
        return [self.configured.stage.name]

    @cached_property
    def keys(self) -> list[str]:
        # File names do not affect the documents, but the manifest must list those of this build.
        inputs = [[file.name, file.sha256] for file in self.files]
        return [key_of({"identity": self.configured.identity, "inputs": inputs, **self._sampling})]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        units = [
            SourceUnit(lake, self.configured.keyed(file=file.sha256, **self._sampling), file, sample=self.sample)
            for file in self.files
        ]
        done = run_units(engine, units, progress, self.names)
        markers = [done[unit.call.key] for unit in units]
        # A marker keeps the name under which its file was first read; rename its parts to this build's name.
        named = [
            replace(part, name=f"{file.name}#{number}")
            for file, marker in zip(self.files, markers, strict=True)
            for number, part in enumerate(marker.parts)
        ]
        details = {
            "files": [{"uri": file.uri, "size": file.size, "sha256": file.sha256} for file in self.files],
            "shards": [len(marker.parts) for marker in markers],
        }
        return [publish(lake, self.configured, self.keys[0], named, markers, {}, details)]

    @property
    def _sampling(self) -> dict[str, Any]:
        """What a sample adds to keys: nothing where all records are read."""
        return {} if self.sample is None else {"sample": asdict(self.sample)}


@dataclass(frozen=True)
class PassPlan:
    """Annotations by several stages with the same view, made in one read of each shard."""

    configured: tuple[ConfiguredStage, ...]
    view: View

    @property
    def names(self) -> list[str]:
        return [item.stage.name for item in self.configured]

    @cached_property
    def keys(self) -> list[str]:
        return [
            key_of({"identity": item.identity, "shards": identities, "floors": self._floors})
            for item, identities in zip(self.configured, self._seen, strict=True)
        ]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        shards = self._shards
        calls = [
            [item.keyed(shard=identity, floors=self._floors) for identity in identities]
            for item, identities in zip(self.configured, self._seen, strict=True)
        ]
        units = [
            PassUnit(lake, tuple(keyed[number] for keyed in calls), shard, self.view.floors)
            for number, shard in enumerate(shards)
        ]
        done = run_units(engine, units, progress, self.names)
        artifacts = []
        for item, keyed, key in zip(self.configured, calls, self.keys, strict=True):
            markers = [done[call.key] for call in keyed]
            parts = named_by_shard(item, markers, shards)
            artifacts.append(publish(lake, item, key, parts, markers, self._digests(item)))
        return artifacts

    @cached_property
    def _shards(self) -> list[Shard]:
        return self.view.shards()

    @cached_property
    def _floors(self) -> list[dict[str, Any]]:
        return [floor.identity() for floor in self.view.floors]

    @cached_property
    def _seen(self) -> list[list[dict[str, Any]]]:
        """Per stage and shard, the identity of its input, limited to annotations that the stage or a floor reads."""
        return [
            [
                replace(shard, annotations=tuple(item for item in shard.annotations if item[0] in names)).identity()
                for shard in self._shards
            ]
            for names in (self._names(item) for item in self.configured)
        ]

    def _names(self, item: ConfiguredStage) -> set[str]:
        return {*item.stage.reads(item.config), *(floor.annotation for floor in self.view.floors)}

    def _digests(self, item: ConfiguredStage) -> dict[str, str]:
        names = self._names(item)
        return replace(self.view, annotations=tuple(a for a in self.view.annotations if a[0] in names)).digests()


@dataclass(frozen=True)
class SelectPlan:
    """The documents of one source that a select stage keeps."""

    configured: ConfiguredStage
    view: View

    @property
    def names(self) -> list[str]:
        return [self.configured.stage.name]

    @cached_property
    def keys(self) -> list[str]:
        shards = [shard.identity() for shard in self.view.shards()]
        return [key_of({"identity": self.configured.identity, "shards": shards})]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        shards = self.view.shards()
        units = [SelectUnit(lake, self.configured.keyed(shard=shard.identity()), shard) for shard in shards]
        done = run_units(engine, units, progress, self.names)
        markers = [done[unit.call.key] for unit in units]
        parts = named_by_shard(self.configured, markers, shards)
        return [publish(lake, self.configured, self.keys[0], parts, markers, self.view.digests())]


@dataclass(frozen=True)
class FitPlan:
    """Files made from all documents, such as models and token files."""

    configured: ConfiguredStage
    views: tuple[View, ...]

    @property
    def names(self) -> list[str]:
        return [self.configured.stage.name]

    @property
    def keys(self) -> list[str]:
        return [self._call.key]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        call = self._call
        done = run_units(engine, [FitUnit(lake, call, tuple(floored_shards(self.views)))], progress, self.names)
        marker = done[call.key]
        return [publish(lake, self.configured, call.key, list(marker.parts), [marker], digests_of(self.views))]

    @cached_property
    def _call(self) -> Call:
        return self.configured.keyed(shards=[shard_identity(*floored) for floored in floored_shards(self.views)])


def named_by_shard(configured: ConfiguredStage, markers: Sequence[Marker], shards: Sequence[Shard]) -> list[Part]:
    """The parts of markers, each named after the stage and the shard that it is about."""
    return [
        replace(part, name=f"{configured.stage.name}/{shard.documents.name}")
        for marker, shard in zip(markers, shards, strict=True)
        for part in marker.parts
    ]


def run_units(engine: Engine, units: Sequence[Any], progress: Progress, names: Sequence[str]) -> dict[str, Marker]:
    """Run units and report their progress under `names`. Returns the markers by key.

    Units with the same keys, such as those of partitions with the same rows, run once.
    """
    label = ", ".join(names)
    different = {_keys_of(unit): unit for unit in reversed(units)}
    first = list(reversed(different.values()))
    return flatten(engine.run(first, lambda done, all_units: progress(label, done, all_units)))


def _keys_of(unit: Any) -> tuple[str, ...]:
    return tuple(call.key for call in unit.calls) if isinstance(unit, PassUnit) else (unit.call.key,)


def publish(
    lake: Lake,
    configured: ConfiguredStage,
    key: str,
    parts: Sequence[Part],
    markers: Sequence[Marker],
    inputs: Mapping[str, str],
    details: Mapping[str, Any] | None = None,
    work: Iterable[Marker] | None = None,
    unread: int = 0,
) -> Manifest:
    """Check the account of a stage and write its manifest. Does not replace a whole artifact with another digest.

    `work` are the markers of all steps, if `markers` are of one only. No unit read the `unread` documents.

    Failures that another machine might not have are in the details, as ``machine_dependent``.
    """
    stage = configured.stage
    account: Account = total([*(marker.account for marker in markers), Account(rows_in=unread, skipped=unread)])
    account.check(f"stage {stage.name}")
    over_budget = account.failed.get(OVER_BUDGET, 0)
    depends = {"machine_dependent": {OVER_BUDGET: over_budget}} if over_budget else {}
    manifest = Manifest(
        key=key,
        digest=artifact_digest(parts),
        stage=stage.name,
        version=stage.version,
        config=configured.config.model_dump(mode="json"),
        inputs=dict(inputs),
        libraries=stage.library_versions(configured.config),
        models=configured.models.identity(),
        parts=tuple(parts),
        account=account,
        details={**(details or {}), **depends},
        cost=_cost(list(markers if work is None else work)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    first = read_manifest(lake, stage.name, key, keep=True)
    if first is not None and first.digest != manifest.digest and not missing_parts(lake, first.parts):
        # A numeric stage can differ on another machine. Keep the first result: other artifacts may depend on it.
        _logger.warning(
            "stage %s gave another result for the key %s than before: %s, not %s; the first result is kept",
            stage.name,
            key[:12],
            manifest.digest[:12],
            first.digest[:12],
        )
        return first
    write_manifest(lake, manifest)
    return manifest


def _cost(work: Sequence[Marker]) -> dict[str, float]:
    return {
        "worker_seconds": round(sum(marker.seconds for marker in work), 3),
        "worker_requests": sum(marker.requests for marker in work),
        "worker_peak": max((marker.peak for marker in work), default=0),
    }
