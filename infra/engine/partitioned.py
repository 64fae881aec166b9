"""The plan of a partitioned stage: map, reduce, gather and settle where declared, scatter; group by group of shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from infra.engine.pieces import GatherPiece, MapPiece, ReducePiece, ScatterPiece, Shard
from infra.engine.plans import Call, Progress, input_digests, publish, run_pieces, shards_of
from infra.engine.pool import Engine
from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Marker, Part


@dataclass(frozen=True)
class PartitionedPlan:
    """A stage over all shards at once: map, reduce, gather and settle where declared, scatter."""

    call: Call
    documents: Manifest
    edits: tuple[Manifest, ...] = ()
    annotations: tuple[tuple[str, Manifest], ...] = ()

    @property
    def names(self) -> list[str]:
        return [self.call.stage.name]

    @property
    def keys(self) -> list[str]:
        shards = [shard.identity() for shard in self._shards()]
        return [key_of({"identity": self.call.identity(), "shards": shards})]

    def carry_out(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        shards = self._shards()
        size = self.call.config.model_dump().get("shards_per_group") or max(len(shards), 1)
        markers: list[Marker] = []
        evidence: dict[str, list[dict[str, Any]]] = {}
        for start in range(0, len(shards), size):
            markers += self._group(lake, engine, progress, shards[start : start + size], evidence)
        named = [
            replace(part, name=f"{self.call.stage.name}/{shard.documents.name}")
            for marker, shard in zip(markers, shards, strict=True)
            for part in marker.parts
        ]
        digests = input_digests(self.documents, self.edits, self.annotations)
        # The maps of these shards are what the next build with one more archive need not do again.
        maps = [self.call.keyed(step="map", shard=shard.identity()).key for shard in shards]
        details = {"evidence": evidence, "markers": maps}
        return [publish(lake, self.call, self.keys[0], named, markers, digests, details)]

    def _group(
        self,
        lake: Lake,
        engine: Engine,
        progress: Progress,
        shards: list[Shard],
        evidence: dict[str, list[dict[str, Any]]],
    ) -> list[Marker]:
        """The work of one group of shards; the parts of its inner steps are added to `evidence` by step."""
        stage = self.call.stage
        maps = [MapPiece(lake, self.call.keyed(step="map", shard=shard.identity()), shard) for shard in shards]
        mapped = run_pieces(engine, maps, progress, [f"{stage.name} map"])
        partitions = self.call.config.model_dump()["partitions"]
        inputs = [
            tuple((number, mapped[piece.call.key].parts[partition]) for number, piece in enumerate(maps))
            for partition in range(partitions)
        ]
        reduced = self._reduce(lake, engine, progress, "reduce", inputs)
        evidence.setdefault("reduce", []).extend(asdict(part) for marker in reduced for part in marker.parts)
        if "gather" in stage.steps:
            gathered = self._gather(lake, engine, progress, shards, reduced)
            evidence.setdefault("gather", []).extend(asdict(part) for part in gathered)
            reduced = self._reduce(lake, engine, progress, "settle", [tuple(enumerate(gathered))])
            evidence.setdefault("settle", []).extend(asdict(part) for marker in reduced for part in marker.parts)
        scatters = [
            ScatterPiece(
                lake,
                self.call.keyed(step="scatter", shard=shard.identity(), rows=_slices(reduced, number)),
                number,
                tuple(marker.parts[0] for marker in reduced if str(number) in marker.slices) or (reduced[0].parts[0],),
                shard,
            )
            for number, shard in enumerate(shards)
        ]
        done = run_pieces(engine, scatters, progress, [stage.name])
        return [done[piece.call.key] for piece in scatters]

    def _reduce(
        self,
        lake: Lake,
        engine: Engine,
        progress: Progress,
        step: str,
        inputs: Sequence[tuple[tuple[int, Part], ...]],
    ) -> list[Marker]:
        pieces = [
            ReducePiece(lake, self.call.keyed(step=step, rows=[part.content for _, part in parts]), step, parts)
            for parts in inputs
        ]
        done = run_pieces(engine, pieces, progress, [f"{self.call.stage.name} {step}"])
        return [done[piece.call.key] for piece in pieces]

    def _gather(
        self, lake: Lake, engine: Engine, progress: Progress, shards: list[Shard], reduced: list[Marker]
    ) -> list[Part]:
        pieces = []
        for number in range(len(shards)):
            rows = [marker for marker in reduced if str(number) in marker.slices] or reduced[:1]
            others = {other for marker in rows for other in marker.slices.get(str(number), {}).get("others", [])}
            touched = tuple((other, shards[other]) for other in sorted({number, *others}))
            call = self.call.keyed(
                step="gather",
                rows=_slices(reduced, number),
                shards=[[other, shard.identity()] for other, shard in touched],
            )
            pieces.append(GatherPiece(lake, call, number, tuple(marker.parts[0] for marker in rows), touched))
        done = run_pieces(engine, pieces, progress, [f"{self.call.stage.name} gather"])
        return [done[piece.call.key].parts[0] for piece in pieces]

    def _shards(self) -> list[Shard]:
        return shards_of(self.documents, self.edits, dict(self.annotations))


def _slices(markers: Sequence[Marker], shard: int) -> list[str]:
    """What the rows for one shard are, over all partitions, empty ones left out."""
    found = [marker.slices.get(str(shard)) for marker in markers]
    return [item["content"] for item in found if item is not None]
