"""Layout-independent checkpoints: files of slices, and a manifest that is committed last.

A checkpoint exists once its manifest does. It is good when every file has the digest that the manifest records. A
manifest does not record when or where it was written, so repeating a step gives the same manifest. An object's name
contains the digest of its content, so writing it again changes nothing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from infra.store import faults
from infra.store.digests import key_of, sha256_file
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from infra.store.schema import Component, Count, Digest, Range, read_value
from model.configuration import require
from model.state.boxes import Box
from model.state.kinds import Kind

FORMAT = 2
MANIFEST = "manifest.json"
# Longer numbers than six digits have no leading zero.
_OBJECT = re.compile(r"runs/[^/]+/checkpoints/step-(\d{6}|[1-9]\d{6,11})/[^/]+")
Rank = Annotated[int, Range(0, 10**7)]
Content = Literal["weights", "state"]
CONTENTS: tuple[Content, ...] = ("weights", "state")


@dataclass(frozen=True, slots=True)
class StoredSlice:
    """A tensor in a file: the part `box` of the tensor `name` of the given kind and whole shape, in fp32."""

    name: str
    kind: Kind
    shape: tuple[Count, ...]
    box: Box

    def __post_init__(self) -> None:
        require(
            len(self.shape) == len(self.box.shape)
            and all(stop <= size for stop, size in zip(self.box.stop, self.shape, strict=True)),
            f"slice of {self.name}: {self.box} is not inside the shape {self.shape}",
        )

    @property
    def key(self) -> str:
        """The tensor's key in the safetensors file."""
        return f"{self.kind}/{self.name}/{','.join(map(str, self.box.start))}"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of one rank: its weights, or its state (AdamW's moments and the random streams)."""

    rank: Rank
    content: Content
    sha256: Digest
    bytes: Count
    slices: tuple[StoredSlice, ...]

    @property
    def object(self) -> str:
        """The object's name in the checkpoint's folder."""
        return f"rank-{self.rank}-{self.content}-{self.sha256[:16]}.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The training state after `step` updates.

    `parent` is the digest of the previous checkpoint, "" for the first. `trainer` is the trainer's part of the state,
    as plain JSON. A checkpoint kept `aside` was saved out of schedule and is never a parent. When `pruned`, retention
    has deleted the state files, and only the weights are left.
    """

    run: Component
    step: Count
    parent: Literal[""] | Digest
    trainer: dict[str, Any]
    files: tuple[StoredFile, ...]
    aside: bool = False
    pruned: bool = False

    @property
    def digest(self) -> str:
        """The checkpoint's identity; pruning does not change it."""
        values = asdict(self)
        del values["pruned"]
        return key_of(values)

    @property
    def kept(self) -> tuple[StoredFile, ...]:
        """The files that are in the lake."""
        return tuple(file for file in self.files if not self.pruned or file.content == "weights")

    @property
    def folder(self) -> str:
        """The checkpoint's folder in the lake."""
        return checkpoint_folder(self.run, self.step)


def checkpoint_folder(run: str, step: int) -> str:
    """The folder of a step's checkpoint in the lake."""
    return f"{checkpoints_folder(run)}/step-{step:06d}"


def checkpoints_folder(run: str) -> str:
    """The folder of a run's checkpoints in the lake."""
    return f"runs/{run}/checkpoints"


def step_of(path: str) -> int | None:
    """The step of the checkpoint to which an object belongs; None for an object that belongs to none."""
    found = _OBJECT.fullmatch(path)
    return None if found is None else int(found[1])


def commit(lake: Lake, checkpoint: Checkpoint) -> None:
    """Publish a checkpoint after all its files are written."""
    faults.reach("checkpoint.before_manifest")
    write_manifest(lake, checkpoint)
    faults.reach("checkpoint.after_manifest")


def write_manifest(lake: Lake, checkpoint: Checkpoint) -> None:
    """Write or replace a checkpoint's manifest."""
    lake.write_json(
        f"{checkpoint.folder}/{MANIFEST}", {"format": FORMAT, "digest": checkpoint.digest, **asdict(checkpoint)}
    )


def delete_manifest(lake: Lake, run: str, step: int) -> None:
    """Delete the manifest of a step: its checkpoint then no longer exists."""
    lake.delete(f"{checkpoint_folder(run, step)}/{MANIFEST}")


def committed_steps(lake: Lake, run: str) -> list[int]:
    """The steps that have a manifest, ascending."""
    paths = (entry.path for entry in lake.list(checkpoints_folder(run)))
    steps = (step_of(path) for path in paths if path.endswith(f"/{MANIFEST}"))
    return sorted(step for step in steps if step is not None)


def read_checkpoint(lake: Lake, run: str, step: int) -> Checkpoint:
    """The manifest of a step. Raises NotThere when it is not committed and Corrupt when it is invalid."""
    path = f"{checkpoint_folder(run, step)}/{MANIFEST}"
    where = f"{lake.uri}/{path}"
    values: dict[str, Any] = read_value(dict[str, Any], lake.read_json(path), where, _CURE)
    if values.pop("format", None) != FORMAT:
        raise Corrupt(f"{where} has a format other than {FORMAT}; use the version that wrote it")
    digest = values.pop("digest", None)
    checkpoint: Checkpoint = read_value(Checkpoint, values, where, _CURE)
    if (checkpoint.run, checkpoint.step, checkpoint.digest) != (run, step, digest):
        raise Corrupt(f"{lake.uri}/{path} does not match its digest; use the checkpoint before it")
    return checkpoint


_CURE = "Use the checkpoint before it"


def newest_good(
    lake: Lake,
    run: str,
    cache: Path,
    report: Callable[[int, str], None],
    objection: Callable[[Checkpoint], str] = lambda checkpoint: "",
    check: Callable[[Checkpoint], None] | None = None,
) -> Checkpoint | None:
    """The newest committed checkpoint from which training can resume, with intact files; None when there is none.

    `objection(checkpoint)` returns the reason to reject a checkpoint, or "". `report(step, reason)` is called for each
    rejected checkpoint. `check` replaces `verify` and raises the same errors. Raises StoreUnavailable when the store is
    unavailable.
    """
    for step in reversed(committed_steps(lake, run)):
        try:
            checkpoint = read_checkpoint(lake, run, step)
            if checkpoint.pruned:
                report(step, f"{lake.uri}/{checkpoint.folder} keeps only its weights; training cannot resume from it")
                continue
            if reason := objection(checkpoint):
                report(step, reason)
                continue
            if check is None:
                verify(lake, checkpoint, cache)
            else:
                check(checkpoint)
            return checkpoint
        except (Corrupt, NotThere) as error:
            report(step, str(error))
    return None


def verify(lake: Lake, checkpoint: Checkpoint, cache: Path, share: tuple[int, int] = (0, 1)) -> None:
    """Read the files that a checkpoint keeps, one at a time. Files of a remote lake are copied into `cache`.

    With `share` (i, n), read every n-th file from the i-th on. Raises NotThere for a missing file and Corrupt for a
    changed one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix="checkpoint-") as folder:
        # Sorted by size, so that shares have similar sizes.
        for file in sorted(checkpoint.kept, key=lambda file: file.bytes)[share[0] :: share[1]]:
            verified_file(lake, checkpoint.folder, file, Path(folder))
            (Path(folder) / file.object).unlink(missing_ok=True)


def verified_file(lake: Lake, folder: str, file: StoredFile, copies: Path) -> Path:
    """The local path of a file of the checkpoint in `folder`; a file of a remote lake is downloaded into `copies`.

    Raises NotThere when it is missing, and Corrupt when its sha256 is not that of `file`.
    """
    path = f"{folder}/{file.object}"
    local = lake.local_path(path)
    if local is None:
        # Under a name of our own until it is what the manifest says.
        local = copies / f"unverified-{uuid.uuid4().hex}"
        lake.download(path, local)
    if not local.exists():
        raise NotThere(f"{lake.uri}/{path} is missing, though the manifest names it; restore it from a copy")
    if (found := sha256_file(local)) != file.sha256:
        if local.parent == copies:
            local.unlink()
        raise Corrupt(
            f"{lake.uri}/{path} has sha256 {found}, and {file.sha256} was written: the file is changed or truncated; "
            "restore it from a copy"
        )
    return local.replace(copies / file.object) if local.parent == copies else local
