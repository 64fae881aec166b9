"""The plan of a fit stage whose files are made in parallel: a language model for each language, a count of words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from infra.engine.plans import ConfiguredStage, Progress, publish, run_units
from infra.engine.pool import Engine
from infra.engine.shuffle import ROWS_FORMAT
from infra.engine.units import FitGroupUnit, FitJoinUnit, MapUnit, shard_identity
from infra.engine.views import FlooredShard, View, digests_of, floored_shards
from infra.stage import FIT_PARTITIONS, PARTIAL
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Marker


@dataclass(frozen=True)
class FitGroupsPlan:
    """Files made from all documents, each from those of its partition.

    Each shard is split into rows for partitions, each partition is fitted, and what the partitions say of themselves
    is joined. One more input file costs the fits of the partitions that it has rows for. Shards behind the first
    documents, where the stage reads no more, cost nothing.
    """

    configured: ConfiguredStage
    views: tuple[View, ...]

    @property
    def names(self) -> list[str]:
        return [self.configured.stage.name]

    @cached_property
    def keys(self) -> list[str]:
        shards = [shard_identity(*floored) for floored in floored_shards(self.views)]
        return [self.configured.keyed(shards=shards).key]

    def run(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        stage = self.configured.stage

        def run(units: list[Any], step: str) -> list[Marker]:
            done = run_units(engine, units, progress, [f"{stage.name} {step}".strip()])
            return [done[unit.call.key] for unit in units]

        mapped = run([self._map(lake, floored, rows) for floored, rows in self._read if rows], "map")
        groups = [
            FitGroupUnit(
                lake,
                self.configured.keyed(step="group", rows=[marker.slices[str(partition)] for marker in about]),
                partition,
                tuple(marker.parts[0] for marker in about),
            )
            for partition in sorted({int(target) for marker in mapped for target in marker.slices})
            if (about := [marker for marker in mapped if str(partition) in marker.slices])
        ]
        fitted = run(groups, "")
        parts = sorted((part for marker in fitted for part in marker.parts), key=lambda part: part.name)
        about_groups = tuple(part for part in parts if part.name.endswith(PARTIAL))
        call = self.configured.keyed(step="join", parts=[[part.name, part.content] for part in about_groups])
        [joined] = run([FitJoinUnit(lake, call, about_groups)], "join")
        published = [part for part in [*parts, *joined.parts] if not part.name.endswith(PARTIAL)]
        inner = [*mapped, *fitted, joined]
        return [
            publish(
                lake,
                self.configured,
                self.keys[0],
                sorted(published, key=lambda part: part.name),
                mapped,
                digests_of(self.views),
                {"markers": [marker.key for marker in inner]},
                work=inner,
                unread=sum(shard.documents.rows for (shard, _), rows in self._read if not rows),
            )
        ]

    def _map(self, lake: Lake, floored: FlooredShard, rows: int) -> MapUnit:
        """The map of the first `rows` documents of a shard."""
        first = rows if rows < floored[0].documents.rows else None
        only = {} if first is None else {"first": first}
        call = self.configured.keyed(step="map", shard=shard_identity(*floored), rows_format=ROWS_FORMAT, **only)
        return MapUnit(lake, call, *floored, FIT_PARTITIONS, first)

    @cached_property
    def _read(self) -> list[tuple[FlooredShard, int]]:
        """Each shard, with the number of its documents that are read."""
        first = self.configured.stage.first
        left = math.inf if first is None else first(self.configured.config)
        found = []
        for floored in floored_shards(self.views):
            rows = int(min(left, floored[0].documents.rows))
            found.append((floored, rows))
            left -= rows
        return found
