"""From a stage and its inputs to an artifact: keys first, then the pieces that are missing, then the manifest.

A plan knows the key of its artifact before any work is done. `carry_out` gives the artifact: the one that is in
the lake, or a new one.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from infra.engine.pieces import FitPiece, Floor, PassPiece, Shard, SourcePiece, StageCall
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
        done = run_pieces(engine, pieces, progress, self.names)
        markers = [done[piece.call.key] for piece in pieces]
        # The marker of a file that was first read under another name keeps that name.
        named = [
            replace(part, name=f"{file.name}#{number}")
            for file, marker in zip(self.files, markers, strict=True)
            for number, part in enumerate(marker.parts)
        ]
        details = {"files": [{"uri": file.uri, "size": file.size, "sha256": file.sha256} for file in self.files]}
        return [publish(lake, self.call, self.keys[0], named, markers, {}, details)]


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
        done = run_pieces(engine, pieces, progress, self.names)
        artifacts = []
        for number, (call, key) in enumerate(zip(self.calls, self.keys, strict=True)):
            markers = [done[piece.calls[number].key] for piece in pieces]
            parts = [
                replace(marker.parts[0], name=f"{call.stage.name}/{shard.documents.name}")
                for marker, shard in zip(markers, shards, strict=True)
            ]
            artifacts.append(publish(lake, call, key, parts, markers, self._digests(call)))
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
        read = [item for item in self.annotations if item[0] in call.stage.reads]
        return input_digests(self.documents, self.edits, read)


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
        done = run_pieces(engine, [FitPiece(lake, call, tuple(self._shards()))], progress, self.names)
        digests = input_digests(self.documents, self.edits, self.annotations)
        return [publish(lake, self.call, call.key, list(done[call.key].parts), [done[call.key]], digests)]

    def _piece_call(self) -> StageCall:
        return self.call.keyed(shards=[shard.identity() for shard in self._shards()])

    def _shards(self) -> list[Shard]:
        return shards_of(self.documents, self.edits, dict(self.annotations))


def run_pieces(engine: Engine, pieces: Sequence[Any], progress: Progress, names: Sequence[str]) -> dict[str, Marker]:
    """Run pieces and tell their progress under the names given; the markers by key."""
    label = ", ".join(names)
    return flatten(engine.run(pieces, lambda done, all_pieces: progress(label, done, all_pieces)))


def input_digests(
    documents: Manifest, edits: Sequence[Manifest], annotations: Iterable[tuple[str, Manifest]]
) -> dict[str, str]:
    """What a manifest says of its inputs: stage → digest."""
    beside = {name: manifest.digest for name, manifest in annotations}
    return {documents.stage: documents.digest, **{edit.stage: edit.digest for edit in edits}, **beside}


def publish(
    lake: Lake,
    call: Call,
    key: str,
    parts: Sequence[Part],
    markers: Sequence[Marker],
    inputs: Mapping[str, str],
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Make the manifest of a stage's parts, once its account balances; an artifact that is there already stays."""
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
