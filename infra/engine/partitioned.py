"""The plan of a partitioned stage: a map of every shard, reduces of every partition, and mostly the shards again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from infra.engine.plans import ConfiguredStage, Progress, named_by_shard, publish, run_units
from infra.engine.pool import Engine
from infra.engine.units import AnnotateUnit, Call, MapUnit, ReduceUnit, shard_identity
from infra.engine.views import FlooredShard, View, digests_of, floored_shards
from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Marker

_MOST_ROUNDS = 64  # a round at least halves the longest path between two documents, so 2^64 documents need no more


@dataclass(frozen=True)
class PartitionedPlan:
    """A stage over all shards of one or several sources.

    `documents_per_partition` replaces the stage's own bound of a worker's memory. No result depends on it.
    """

    configured: ConfiguredStage
    views: tuple[View, ...]
    documents_per_partition: int | None = None

    @property
    def names(self) -> list[str]:
        return [self.configured.stage.name]

    @property
    def keys(self) -> list[str]:
        shards = [shard_identity(*floored) for floored in self._shards]
        return [key_of({"identity": self.configured.identity, "shards": shards})]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        shards = self._shards
        steps = _Steps(self.configured, lake, engine, progress)
        bound = self.documents_per_partition or self.configured.stage.documents_per_partition
        groups = [_Group(self.configured, lake, group, bound) for group in self._groups()]
        steps.run(groups, "map", lambda group: group.maps())
        # Keep the map markers: a build with one more archive reuses them.
        maps = [marker.key for group in groups for marker in group.given]
        stage, config = self.configured.stage, self.configured.config
        order = stage.order(config)
        for number, step in enumerate(order):
            self._reduce(steps, groups, step, last=number == len(order) - 1)
        details: dict[str, Any] = {"markers": maps}
        if "annotate" in stage.steps:
            reduced = [marker.parts[0] for group in groups for marker in group.given]
            details["evidence"] = {order[-1]: [asdict(part) for part in reduced]}
            steps.run(groups, "", lambda group: group.annotations())
        markers = [marker for group in groups for marker in group.given]
        if "annotate" in stage.steps:
            parts = named_by_shard(self.configured, markers, [shard for shard, _ in shards])
        else:
            parts = [replace(marker.parts[0], name=f"{stage.name}-{n:05}") for n, marker in enumerate(markers)]
        digests = digests_of(self.views)
        return [publish(lake, self.configured, self.keys[0], parts, markers, digests, details, steps.seconds)]

    def _reduce(self, steps: _Steps, groups: list[_Group], step: str, last: bool) -> None:
        """Run a step; a repeated one until it gives what it gave before."""
        active = groups
        for _ in range(_MOST_ROUNDS):
            before = {id(group): group.slices() for group in active}
            steps.run(active, step, lambda group: group.reduces(step, last))
            if step not in self.configured.stage.repeated:
                return
            active = [group for group in active if group.slices() != before[id(group)]]
            if not active:
                return
        raise RuntimeError(f"stage {self.configured.stage.name}: {step} did not come to an end")

    @cached_property
    def _shards(self) -> list[FlooredShard]:
        return floored_shards(self.views)

    def _groups(self) -> list[list[FlooredShard]]:
        shards = self._shards
        size = self.configured.config.model_dump().get("shards_per_group") or max(len(shards), 1)
        return [shards[start : start + size] for start in range(0, len(shards), size)]


class _Group:
    """Shards that are compared with each other. `given` are the markers of the last step."""

    def __init__(
        self, configured: ConfiguredStage, lake: Lake, shards: list[FlooredShard], documents_per_partition: int
    ) -> None:
        self._configured, self._lake, self._shards = configured, lake, shards
        rows = sum(shard.documents.rows for shard, _ in shards)
        # A power of two, so that a build with somewhat more documents mostly has the same partitions.
        self._partitions = 1
        while self._partitions * documents_per_partition < rows:
            self._partitions *= 2
        self.given: list[Marker] = []

    def slices(self) -> list[dict[str, Any]]:
        """The digests of the rows that the last step gave."""
        return [marker.slices for marker in self.given]

    def maps(self) -> list[MapUnit]:
        return [MapUnit(self._lake, self._map_call(item), *item, self._partitions) for item in self._shards]

    def reduces(self, step: str, last: bool) -> list[ReduceUnit]:
        partitions = None if last else self._partitions
        units = []
        for partition in range(self._partitions):
            rows = [
                (number, marker, marker.slices[str(partition)])
                for number, marker in enumerate(self.given)
                if str(partition) in marker.slices
            ]
            call = self._configured.keyed(
                step=step, partitions=partitions, rows=[[number, content] for number, _, content in rows]
            )
            inputs = tuple((number, marker.parts[0]) for number, marker, _ in rows)
            units.append(ReduceUnit(self._lake, call, step, partition, inputs, partitions))
        return units

    def annotations(self) -> list[AnnotateUnit]:
        units = []
        for number, (shard, _) in enumerate(self._shards):
            about = [marker for marker in self.given if str(number) in marker.slices]
            rows = [marker.slices[str(number)] for marker in about]
            call = self._configured.keyed(step="annotate", shard=shard.identity(), rows=rows)
            # Without rows, the first file supplies their schema.
            parts = tuple(marker.parts[0] for marker in about or self.given[:1])
            units.append(AnnotateUnit(self._lake, call, number, parts, shard))
        return units

    def _map_call(self, floored: FlooredShard) -> Call:
        return self._configured.keyed(step="map", partitions=self._partitions, shard=shard_identity(*floored))


class _Steps:
    """Runs one step for all groups at once."""

    def __init__(self, configured: ConfiguredStage, lake: Lake, engine: Engine, progress: Progress) -> None:
        self._name, self._engine, self._progress = configured.stage.name, engine, progress
        self._work: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """The work of all steps. Units with equal input are one."""
        return sum(self._work.values())

    def run(self, groups: Sequence[_Group], step: str, units_of: Any) -> None:
        units = [units_of(group) for group in groups]
        label = f"{self._name} {step}".strip()
        done = run_units(self._engine, [unit for some in units for unit in some], self._progress, [label])
        self._work |= {key: marker.seconds for key, marker in done.items()}
        for group, some in zip(groups, units, strict=True):
            group.given = [done[unit.call.key] for unit in some]
