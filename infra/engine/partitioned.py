"""The plan of a partitioned stage: a map of every shard, reduces of every partition, and mostly the shards again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from infra.engine.plans import ConfiguredStage, Progress, named_by_shard, publish, run_units
from infra.engine.pool import Engine
from infra.engine.shuffle import ROWS_FORMAT
from infra.engine.units import AnnotateUnit, Call, MapUnit, MergeUnit, ReduceUnit, shard_identity
from infra.engine.views import FlooredShard, View, digests_of, floored_shards
from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Marker

# Files with rows for one partition or shard. More are merged first: the flow then holds a digest for each partition and
# shard and for each of these, not for each partition and shard together, and a reduce opens no more files.
MOST_GIVEN = 128
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
        # Where groups end depends on the files that the shards are from.
        groups = {"groups": [len(group) for group in self._groups]} if self._files_per_group else {}
        return [key_of({"identity": self.configured.identity, "shards": shards, **groups})]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        shards = self._shards
        steps = _Steps(self.configured, engine, progress)
        bound = self.documents_per_partition or self.configured.stage.documents_per_partition
        groups = [_Group(self.configured, lake, group, bound) for group in self._groups]
        steps.run(groups, "map", lambda group: group.maps())
        # Keep the map markers: a build with one more archive reuses them.
        details: dict[str, Any] = {"markers": [marker.key for group in groups for marker in group.made]}
        stage, config = self.configured.stage, self.configured.config
        order = stage.order(config)
        for number, step in enumerate(order):
            self._reduce(steps, groups, step, last=number == len(order) - 1)
        if "annotate" in stage.steps:
            reduced = [marker.parts[0] for group in groups for marker in group.made]
            details["evidence"] = {order[-1]: [asdict(part) for part in reduced]}
            steps.run(groups, "", lambda group: group.annotations(), merged=False)
        markers = [marker for group in groups for marker in group.made]
        if "annotate" in stage.steps:
            parts = named_by_shard(self.configured, markers, [shard for shard, _ in shards])
        else:
            parts = [replace(marker.parts[0], name=f"{stage.name}-{n:05}") for n, marker in enumerate(markers)]
        digests = digests_of(self.views)
        return [publish(lake, self.configured, self.keys[0], parts, markers, digests, details, steps.work)]

    def _reduce(self, steps: _Steps, groups: list[_Group], step: str, last: bool) -> None:
        """Run a step; a repeated one until it gives what it gave before."""
        active = groups
        merged = not last or "annotate" in self.configured.stage.steps
        for _ in range(_MOST_ROUNDS):
            before = {id(group): group.slices() for group in active}
            steps.run(active, step, lambda group: group.reduces(step, last), merged)
            if step not in self.configured.stage.repeated:
                return
            active = [group for group in active if group.slices() != before[id(group)]]
            if not active:
                return
        raise RuntimeError(f"stage {self.configured.stage.name}: {step} did not come to an end")

    @cached_property
    def _shards(self) -> list[FlooredShard]:
        return floored_shards(self.views)

    @property
    def _files_per_group(self) -> int | None:
        return self.configured.config.model_dump().get("files_per_group")

    @cached_property
    def _groups(self) -> list[list[FlooredShard]]:
        """The shards that are compared with each other: all, or those of so many neighbouring files of one source."""
        size = self._files_per_group
        if size is None:
            return [self._shards] if self._shards else []
        found = []
        for view in self.views:
            files = view.files()
            for start in range(0, len(files), size):
                found.append([(shard, view.floors) for file in files[start : start + size] for shard in file])
        return [group for group in found if group]


class _Group:
    """Shards that are compared with each other.

    `made` are the markers of the last step, and `given` those of the files that the next one reads: the same, or those
    of the merges. Only the latter have digests by slice, so there are never more than `MOST_GIVEN` for a target.
    """

    def __init__(
        self, configured: ConfiguredStage, lake: Lake, shards: list[FlooredShard], documents_per_partition: int
    ) -> None:
        self._configured, self._lake, self._shards = configured, lake, shards
        rows = sum(shard.documents.rows for shard, _ in shards)
        # A power of two, so that a build with somewhat more documents mostly has the same partitions.
        self._partitions = 1
        while self._partitions * documents_per_partition < rows:
            self._partitions *= 2
        self.made: list[Marker] = []
        self.given: list[Marker] = []

    def slices(self) -> list[dict[str, Any]]:
        """The digests of the rows that the last step gave."""
        return [marker.slices for marker in self.given]

    def maps(self) -> list[MapUnit]:
        digests = len(self._shards) <= MOST_GIVEN
        return [
            MapUnit(self._lake, self._map_call(item, digests), *item, self._partitions, digests=digests)
            for item in self._shards
        ]

    def merges(self, step: str) -> list[MergeUnit]:
        """Merges of neighbours, where too many files were given."""
        count = -(-len(self.given) // MOST_GIVEN)
        units = []
        for start in range(0, len(self.given), MOST_GIVEN) if count > 1 else ():
            some = [*enumerate(self.given)][start : start + MOST_GIVEN]
            rows = [[number, marker.key, marker.parts[0].content] for number, marker in some]
            digests = count <= MOST_GIVEN
            call = self._configured.keyed(step="merge", of=step, rows=rows, digests=digests)
            inputs = tuple((number, marker.parts[0]) for number, marker in some)
            units.append(MergeUnit(self._lake, call, step, inputs, digests))
        return units

    def reduces(self, step: str, last: bool) -> list[ReduceUnit]:
        partitions = None if last else self._partitions
        digests = self._partitions <= MOST_GIVEN
        inputs = [(number, marker.parts[0]) for number, marker in enumerate(self.given)]
        units = []
        for partition in range(self._partitions):
            about = [number for number, marker in enumerate(self.given) if str(partition) in marker.slices]
            rows = [[number, self.given[number].slices[str(partition)]] for number in about]
            call = self._configured.keyed(step=step, partitions=partitions, rows=rows, **self._format(digests))
            chosen = tuple(inputs[number] for number in about)
            units.append(ReduceUnit(self._lake, call, step, partition, chosen, partitions, digests))
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

    def _map_call(self, floored: FlooredShard, digests: bool) -> Call:
        shard = shard_identity(*floored)
        return self._configured.keyed(step="map", partitions=self._partitions, shard=shard, **self._format(digests))

    @staticmethod
    def _format(digests: bool) -> dict[str, Any]:
        """What the form of the files that steps hand on adds to keys."""
        return {"rows_format": ROWS_FORMAT, "digests": digests}


class _Steps:
    """Runs one step for all groups at once."""

    def __init__(self, configured: ConfiguredStage, engine: Engine, progress: Progress) -> None:
        self._name, self._engine, self._progress = configured.stage.name, engine, progress
        self._work: dict[str, Marker] = {}

    @property
    def work(self) -> Iterable[Marker]:
        """The markers of all steps, without slices. Units with equal input are one."""
        return self._work.values()

    def run(self, groups: Sequence[_Group], step: str, units_of: Any, merged: bool = True) -> None:
        """Run a step, and the merges of what it gave, if there is a next one for partitions or shards."""
        for group, markers in zip(groups, self._run(step, [units_of(group) for group in groups]), strict=True):
            group.made = group.given = markers
        while merged and any(units := [group.merges(step) for group in groups]):
            for group, markers in zip(groups, self._run(f"{step} merge", units), strict=True):
                group.given = markers or group.given

    def _run(self, step: str, units: Sequence[Sequence[Any]]) -> list[list[Marker]]:
        label = f"{self._name} {step}".strip()
        done = run_units(self._engine, [unit for some in units for unit in some], self._progress, [label])
        self._work |= {key: replace(marker, parts=(), slices={}) for key, marker in done.items()}
        return [[done[unit.call.key] for unit in some] for some in units]
