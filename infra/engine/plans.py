"""From a stage and its inputs to an artifact: keys first, then the pieces that are missing, then the manifest.

A plan knows the key of its artifact before any work is done. `carry_out` gives the artifact: the one that is in
the lake, or a new one.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from infra.engine.pieces import (
    FitPiece,
    Floor,
    GatherPiece,
    MapPiece,
    PassPiece,
    ReducePiece,
    ScatterPiece,
    Shard,
    SourcePiece,
    StageCall,
)
from infra.engine.pool import Engine, flatten
from infra.models import NO_MODEL, ModelFiles
from infra.stage import Stage, StageConfig
from infra.store.digests import key_of
from infra.store.inputs import InputFile
from infra.store.lake import Lake
from infra.store.ledger import Account, total
from infra.store.manifest import Manifest, Marker, Part, artifact_digest, read_manifest, write_manifest

Progress = Callable[[str, int, int], None]
_logger = logging.getLogger("millrace.engine")


@dataclass(frozen=True)
class Call:
    """A stage with the config and the model that it is to run with."""

    stage: Stage
    config: StageConfig
    models: ModelFiles = NO_MODEL

    def identity(self) -> dict[str, Any]:
        """What of it enters keys."""
        return self.stage.identity(self.config, self.models.identity())

    def keyed(self, **inputs: Any) -> StageCall:
        """The call of one piece with those inputs."""
        key = key_of({"identity": self.identity(), **inputs})
        return StageCall(self.stage.reference, self.config.model_dump_json(), key, self.models)


class Plan(Protocol):
    """How one stage's artifact, or those of several in one pass, will be made."""

    @property
    def names(self) -> list[str]:
        """The names of its stages."""

    @property
    def keys(self) -> list[str]:
        """The keys of its artifacts, one for each name."""

    def carry_out(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        """Make the artifacts."""


def present(lake: Lake, plan: Plan) -> list[Manifest] | None:
    """The plan's artifacts if all of them are in the lake: one read for each."""
    found: list[Manifest] = []
    for name, key in zip(plan.names, plan.keys, strict=True):
        manifest = read_manifest(lake, name, key, keep=True)
        if manifest is None:
            return None
        found.append(manifest)
    return found


def shards_of(
    documents: Manifest, edits: Sequence[Manifest] = (), annotations: Mapping[str, Manifest] | None = None
) -> list[Shard]:
    """The shards of an artifact of documents with what was written beside them."""
    return [
        Shard(
            part,
            tuple(manifest.parts[number] for manifest in edits),
            tuple((name, manifest.parts[number]) for name, manifest in sorted((annotations or {}).items())),
        )
        for number, part in enumerate(documents.parts)
    ]


@dataclass(frozen=True)
class SourcePlan:
    """Documents from input files."""

    call: Call
    files: tuple[InputFile, ...]

    @property
    def names(self) -> list[str]:
        return [self.call.stage.name]

    @property
    def keys(self) -> list[str]:
        # Names change no document, but the manifest tells them, and must tell those of this build.
        inputs = [[file.name, file.sha256] for file in self.files]
        return [key_of({"identity": self.call.identity(), "inputs": inputs})]

    def carry_out(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        pieces = [SourcePiece(lake, self.call.keyed(file=file.sha256), file) for file in self.files]
        done = _run(engine, pieces, progress, self.names)
        markers = [done[piece.call.key] for piece in pieces]
        # The marker of a file that was first read under another name keeps that name.
        named = [
            replace(part, name=f"{file.name}#{number}")
            for file, marker in zip(self.files, markers, strict=True)
            for number, part in enumerate(marker.parts)
        ]
        details = {"files": [{"uri": file.uri, "size": file.size, "sha256": file.sha256} for file in self.files]}
        return [_publish(lake, self.call, self.keys[0], named, markers, {}, details)]


@dataclass(frozen=True)
class PassPlan:
    """Annotations by several stages that read the same view, in one read of each shard."""

    calls: tuple[Call, ...]
    documents: Manifest
    edits: tuple[Manifest, ...] = ()
    annotations: tuple[tuple[str, Manifest], ...] = ()
    floors: tuple[Floor, ...] = ()

    @property
    def names(self) -> list[str]:
        return [call.stage.name for call in self.calls]

    @property
    def keys(self) -> list[str]:
        shards = self._shards()
        return [key_of({"identity": call.identity(), **self._inputs(call, shards)}) for call in self.calls]

    def carry_out(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        shards = self._shards()
        floors = [floor.identity() for floor in self.floors]
        pieces = [
            PassPiece(
                lake,
                tuple(call.keyed(shard=self._seen(call, shard).identity(), floors=floors) for call in self.calls),
                shard,
                self.floors,
            )
            for shard in shards
        ]
        done = _run(engine, pieces, progress, self.names)
        artifacts = []
        for number, (call, key) in enumerate(zip(self.calls, self.keys, strict=True)):
            markers = [done[piece.calls[number].key] for piece in pieces]
            parts = [
                replace(marker.parts[0], name=f"{call.stage.name}/{shard.documents.name}")
                for marker, shard in zip(markers, shards, strict=True)
            ]
            artifacts.append(_publish(lake, call, key, parts, markers, self._digests(call)))
        return artifacts

    def _shards(self) -> list[Shard]:
        return shards_of(self.documents, self.edits, dict(self.annotations))

    def _seen(self, call: Call, shard: Shard) -> Shard:
        """The shard with only the annotations that decide the call's result: those it reads, and those of floors."""
        names = {*call.stage.reads, *(floor.column.partition(".")[0] for floor in self.floors)}
        return replace(shard, annotations=tuple(item for item in shard.annotations if item[0] in names))

    def _inputs(self, call: Call, shards: list[Shard]) -> dict[str, Any]:
        return {
            "shards": [self._seen(call, shard).identity() for shard in shards],
            "floors": [floor.identity() for floor in self.floors],
        }

    def _digests(self, call: Call) -> dict[str, str]:
        read = {name: manifest.digest for name, manifest in self.annotations if name in call.stage.reads}
        return {self.documents.stage: self.documents.digest, **_edit_digests(self.edits), **read}


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
        beside = {name: manifest.digest for name, manifest in self.annotations}
        digests = {self.documents.stage: self.documents.digest, **_edit_digests(self.edits), **beside}
        # The maps of these shards are what the next build with one more archive need not do again.
        maps = [self.call.keyed(step="map", shard=shard.identity()).key for shard in shards]
        details = {"evidence": evidence, "markers": maps}
        return [_publish(lake, self.call, self.keys[0], named, markers, digests, details)]

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
        mapped = _run(engine, maps, progress, [f"{stage.name} map"])
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
        done = _run(engine, scatters, progress, [stage.name])
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
        done = _run(engine, pieces, progress, [f"{self.call.stage.name} {step}"])
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
        done = _run(engine, pieces, progress, [f"{self.call.stage.name} gather"])
        return [done[piece.call.key].parts[0] for piece in pieces]

    def _shards(self) -> list[Shard]:
        return shards_of(self.documents, self.edits, dict(self.annotations))


@dataclass(frozen=True)
class FitPlan:
    """Files made from all documents: models, token files."""

    call: Call
    documents: Manifest
    edits: tuple[Manifest, ...] = ()
    annotations: tuple[tuple[str, Manifest], ...] = ()

    @property
    def names(self) -> list[str]:
        return [self.call.stage.name]

    @property
    def keys(self) -> list[str]:
        return [self._piece_call().key]

    def carry_out(self, lake: Lake, engine: Engine, progress: Progress) -> list[Manifest]:
        call = self._piece_call()
        done = _run(engine, [FitPiece(lake, call, tuple(self._shards()))], progress, self.names)
        beside = {name: manifest.digest for name, manifest in self.annotations}
        digests = {self.documents.stage: self.documents.digest, **_edit_digests(self.edits), **beside}
        return [_publish(lake, self.call, call.key, list(done[call.key].parts), [done[call.key]], digests)]

    def _piece_call(self) -> StageCall:
        return self.call.keyed(shards=[shard.identity() for shard in self._shards()])

    def _shards(self) -> list[Shard]:
        return shards_of(self.documents, self.edits, dict(self.annotations))


def _run(engine: Engine, pieces: Sequence[Any], progress: Progress, names: Sequence[str]) -> dict[str, Marker]:
    label = ", ".join(names)
    return flatten(engine.run(pieces, lambda done, all_pieces: progress(label, done, all_pieces)))


def _slices(markers: Sequence[Marker], shard: int) -> list[str]:
    """What the rows for one shard are, over all partitions, empty ones left out."""
    found = [marker.slices.get(str(shard)) for marker in markers]
    return [item["content"] for item in found if item is not None]


def _edit_digests(edits: Sequence[Manifest]) -> dict[str, str]:
    return {manifest.stage: manifest.digest for manifest in edits}


def _publish(
    lake: Lake,
    call: Call,
    key: str,
    parts: Sequence[Part],
    markers: Sequence[Marker],
    inputs: Mapping[str, str],
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    account: Account = total(marker.account for marker in markers)
    account.check(f"stage {call.stage.name}")
    manifest = Manifest(
        key=key,
        digest=artifact_digest(parts),
        stage=call.stage.name,
        version=call.stage.version,
        config=call.config.model_dump(mode="json"),
        inputs=dict(inputs),
        libraries=call.stage.library_versions(),
        models=call.models.identity(),
        parts=tuple(parts),
        account=account,
        details=dict(details or {}),
        cost={"worker_seconds": round(sum(marker.seconds for marker in markers), 3)},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    first = read_manifest(lake, call.stage.name, key)
    if first is not None and first.digest != manifest.digest:
        # A numeric stage on another machine: what others may have built on stays.
        _logger.warning(
            "stage %s gave another result for the key %s than before: %s, not %s; the first one stays",
            call.stage.name,
            key[:12],
            manifest.digest[:12],
            first.digest[:12],
        )
        return first
    write_manifest(lake, manifest)
    return manifest
