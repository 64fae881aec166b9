"""Grouped stages: each group of neighbouring shards of a source to files, then the files of all groups to more files.

Groups are units of their own: they are made in parallel, each in memory that does not grow with the source. Their
boundaries depend on the shards beside them only, so a new input file changes the groups that it touches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from infra.engine.plans import ConfiguredStage, Progress, publish, run_units
from infra.engine.pool import Engine
from infra.engine.units import FinishUnit, GroupUnit, Shard, shard_identity
from infra.engine.views import FlooredShard, View, digests_of
from infra.store.lake import Lake
from infra.store.manifest import Manifest

MEAN_SHARDS = 8
MOST_SHARDS = 32


@dataclass(frozen=True)
class GroupedPlan:
    """Files of groups of documents, and files about them."""

    configured: ConfiguredStage
    views: tuple[View, ...]

    @property
    def names(self) -> list[str]:
        return [self.configured.stage.name]

    @property
    def keys(self) -> list[str]:
        return [self._key]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        units = [self._unit(lake, *group) for group in self._groups]
        done = run_units(engine, units, progress, self.names)
        markers = [done[unit.call.key] for unit in units]
        groups = tuple(
            (source, stem, marker.account.rows_in, marker.parts)
            for (source, _, _), stem, marker in zip(self._groups, self._stems, markers, strict=True)
        )
        identity = [
            [source, stem, rows, [[part.name, part.content] for part in parts]] for source, stem, rows, parts in groups
        ]
        finish = FinishUnit(lake, self.configured.keyed(step="finish", groups=identity), groups)
        last = run_units(engine, [finish], progress, [f"{self.configured.stage.name} finish"])[finish.call.key]
        named = [replace(part, name=f"{stem}{part.name}") for _, stem, _, parts in groups for part in parts]
        parts = [*named, *last.parts]
        return [publish(lake, self.configured, self._key, parts, [*markers, last], digests_of(self.views))]

    def _unit(self, lake: Lake, source: str, group: tuple[FlooredShard, ...], before: int) -> GroupUnit:
        config, place = self.configured.stage.steps["of_group"](self.configured.config, source, before)
        identities = [shard_identity(*floored) for floored in group]
        call = replace(self.configured, config=config).keyed(step="group", shards=identities, place=place)
        return GroupUnit(lake, call, group, place)

    @cached_property
    def _key(self) -> str:
        shards = [[view.source, [shard_identity(shard, view.floors) for shard in view.shards()]] for view in self.views]
        return self.configured.keyed(sources=shards).key

    @cached_property
    def _groups(self) -> list[tuple[str, tuple[FlooredShard, ...], int]]:
        """The source, the shards, and the number of documents before them, of each group with documents."""
        found = []
        for view in self.views:
            before = 0
            for group in groups_of(view.shards()):
                rows = sum(shard.documents.rows for shard in group)
                if rows:
                    found.append((view.source, tuple((shard, view.floors) for shard in group), before))
                before += rows
        return found

    @property
    def _stems(self) -> list[str]:
        """The beginning of the names of each group's files: its source, and its number there."""
        counts: Counter[str] = Counter()
        stems = []
        for source, _, _ in self._groups:
            stems.append(f"{source}-{counts[source]:05d}")
            counts[source] += 1
        return stems


def groups_of(shards: Sequence[Shard]) -> list[tuple[Shard, ...]]:
    """Cut the shards of a source into groups.

    The content of a shard decides whether its group ends with it, as one of `MEAN_SHARDS` does; `MOST_SHARDS` end it
    anyway. So the groups before a new shard stay, and those behind it from the next end on.
    """
    groups: list[tuple[Shard, ...]] = []
    group: list[Shard] = []
    for shard in shards:
        group.append(shard)
        ends = int(shard.documents.content[:15], 16) % MEAN_SHARDS == 0
        # Shards without documents are all alike.
        if (ends and shard.documents.rows) or len(group) == MOST_SHARDS:
            groups.append(tuple(group))
            group = []
    return [*groups, tuple(group)] if group else groups
