"""The plan of a partitioned stage: runs its steps for one group of shards at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from infra.engine.plans import ConfiguredStage, Progress, named_by_shard, publish, run_units
from infra.engine.pool import Engine
from infra.engine.units import AnnotateUnit, Call, Floor, MapUnit, ReduceUnit, Shard, VerifyUnit, shard_identity
from infra.engine.views import View, digests_of, floored_shards
from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Marker, Part

FlooredShard = tuple[Shard, tuple[Floor, ...]]
Evidence = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class PartitionedPlan:
    """A stage over all shards of one or several sources."""

    configured: ConfiguredStage
    views: tuple[View, ...]

    @property
    def names(self) -> list[str]:
        return [self.configured.stage.name]

    @property
    def keys(self) -> list[str]:
        shards = [shard_identity(*floored) for floored in self._shards]
        return [key_of({"identity": self.configured.identity, "shards": shards})]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        shards = self._shards
        size = self.configured.config.model_dump().get("shards_per_group") or max(len(shards), 1)
        group = _Group(self.configured, lake, engine, progress)
        markers: list[Marker] = []
        for start in range(0, len(shards), size):
            markers += group.run(shards[start : start + size])
        named = named_by_shard(self.configured, markers, [shard for shard, _ in shards])
        # Keep the map markers: a build with one more archive reuses them.
        maps = [_map_call(self.configured, floored).key for floored in shards]
        details = {"evidence": group.evidence, "markers": maps}
        return [publish(lake, self.configured, self.keys[0], named, markers, digests_of(self.views), details)]

    @cached_property
    def _shards(self) -> list[FlooredShard]:
        return floored_shards(self.views)


class _Group:
    """Runs the steps for one group of shards at a time. `evidence` collects the parts of inner steps, by step."""

    def __init__(self, configured: ConfiguredStage, lake: Lake, engine: Engine, progress: Progress) -> None:
        self._configured, self._stage = configured, configured.stage
        self._lake, self._engine, self._progress = lake, engine, progress
        self.evidence: Evidence = {}

    def run(self, floored: list[FlooredShard]) -> list[Marker]:
        """Run all steps; returns the markers of the last step, one for each shard.

        Documents outside the floors are not mapped, so nothing is compared with them.
        """
        shards = [shard for shard, _ in floored]
        maps = [MapUnit(self._lake, _map_call(self._configured, item), *item) for item in floored]
        mapped = self._run(maps, "map")
        partitions = self._configured.config.model_dump()["partitions"]
        inputs = [
            tuple((number, marker.parts[partition]) for number, marker in enumerate(mapped))
            for partition in range(partitions)
        ]
        reduced = self._reduce("reduce", inputs)
        self._keep("reduce", reduced)
        if "verify" in self._stage.steps:
            verified = self._verify(shards, reduced)
            self._keep("verify", verified)
            parts = tuple((number, marker.parts[0]) for number, marker in enumerate(verified))
            reduced = self._reduce("resolve", [parts])
            self._keep("resolve", reduced)
        units = [
            AnnotateUnit(
                self._lake,
                self._configured.keyed(step="annotate", shard=shard.identity(), rows=_contents(reduced, number)),
                number,
                tuple(marker.parts[0] for marker in _about(reduced, number)),
                shard,
            )
            for number, shard in enumerate(shards)
        ]
        return self._run(units, "")

    def _reduce(self, step: str, inputs: Sequence[tuple[tuple[int, Part], ...]]) -> list[Marker]:
        return self._run(
            [
                ReduceUnit(
                    self._lake,
                    self._configured.keyed(step=step, rows=[part.content for _, part in parts]),
                    step,
                    parts,
                )
                for parts in inputs
            ],
            step,
        )

    def _verify(self, shards: list[Shard], reduced: list[Marker]) -> list[Marker]:
        units = []
        for number in range(len(shards)):
            rows = _about(reduced, number)
            others = {other for marker in rows for other in marker.slices.get(str(number), {}).get("others", [])}
            touched = tuple((other, shards[other]) for other in sorted({number, *others}))
            call = self._configured.keyed(
                step="verify",
                rows=_contents(reduced, number),
                shards=[[other, shard.identity()] for other, shard in touched],
            )
            units.append(VerifyUnit(self._lake, call, number, tuple(marker.parts[0] for marker in rows), touched))
        return self._run(units, "verify")

    def _run(self, units: Sequence[Any], step: str) -> list[Marker]:
        done = run_units(self._engine, units, self._progress, [f"{self._stage.name} {step}".strip()])
        return [done[unit.call.key] for unit in units]

    def _keep(self, step: str, markers: Sequence[Marker]) -> None:
        self.evidence.setdefault(step, []).extend(asdict(part) for marker in markers for part in marker.parts)


def _map_call(configured: ConfiguredStage, floored: FlooredShard) -> Call:
    return configured.keyed(step="map", shard=shard_identity(*floored))


def _about(markers: Sequence[Marker], shard: int) -> list[Marker]:
    """The markers with rows for a shard; if there are none, the first marker, which supplies the schema."""
    return [marker for marker in markers if str(shard) in marker.slices] or list(markers[:1])


def _contents(markers: Sequence[Marker], shard: int) -> list[str]:
    """The digests of the rows for one shard, over all non-empty partitions."""
    found = [marker.slices.get(str(shard)) for marker in markers]
    return [item["content"] for item in found if item is not None]
