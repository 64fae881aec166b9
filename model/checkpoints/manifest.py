"""Layout-free checkpoints: files of slices, and a manifest that is committed last.

A checkpoint exists once its manifest does, and is good when every file has the digest that the manifest records. A
manifest does not record when or where it was written, so repeating a step gives the same manifest. An object's name
contains the digest of its content: writing one again, at any time, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from infra.store import faults
from infra.store.digests import key_of, sha256_file
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.state.boxes import Box

if TYPE_CHECKING:
    from model.state.slices import Kind

FORMAT = 2
MANIFEST = "manifest.json"
Content = Literal["weights", "state"]
CONTENTS: tuple[Content, ...] = ("weights", "state")


@dataclass(frozen=True, slots=True)
class StoredSlice:
    """A tensor in a file: the part `box` of the tensor `name`, which has the given kind and shape, in fp32."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    box: Box

    @property
    def key(self) -> str:
        """The tensor's key in the safetensors file."""
        return f"{self.kind}/{self.name}/{','.join(map(str, self.box.start))}"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of one rank: its weights, or its state (AdamW's moments and the random streams)."""

    rank: int
    content: Content
    sha256: str
    bytes: int
    slices: tuple[StoredSlice, ...]

    @property
    def object(self) -> str:
        """The object's name in the checkpoint's folder."""
        return f"rank-{self.rank}-{self.content}-{self.sha256[:16]}.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The training state after `step` updates.

    `parent` is the digest of the checkpoint before, "" for the first; `trainer` is plain JSON, the trainer's own part
    of the state. One that was kept `aside` is out of turn and nobody's parent. When `pruned`, retention has dropped
    the state files, and only the weights are left.
    """

    run: str
    step: int
    parent: str
    trainer: dict[str, Any]
    files: tuple[StoredFile, ...]
    aside: bool = False
    pruned: bool = False

    @property
    def digest(self) -> str:
        """The checkpoint's identity; it stays when the state files are dropped."""
        values = asdict(self)
        del values["pruned"]
        return key_of(values)

    @property
    def kept(self) -> tuple[StoredFile, ...]:
        """The files that are in the lake."""
        return tuple(file for file in self.files if not self.pruned or file.content == "weights")

    @property
    def folder(self) -> str:
        """Where it lies in the lake."""
        return checkpoint_folder(self.run, self.step)


def checkpoint_folder(run: str, step: int) -> str:
    """Where the checkpoint of a step lies in the lake."""
    return f"{checkpoints_folder(run)}/step-{step:06d}"


def checkpoints_folder(run: str) -> str:
    """Where the checkpoints of a run lie in the lake."""
    return f"runs/{run}/checkpoints"


def step_of(path: str) -> int:
    """The step to whose checkpoint an object belongs."""
    return int(path.split("/")[-2].removeprefix("step-"))


def commit(lake: Lake, checkpoint: Checkpoint) -> None:
    """Publish a checkpoint whose files are all there."""
    faults.reach("checkpoint.before_manifest")
    write_manifest(lake, checkpoint)
    faults.reach("checkpoint.after_manifest")


def write_manifest(lake: Lake, checkpoint: Checkpoint) -> None:
    """Write or replace a checkpoint's manifest."""
    lake.write_json(
        f"{checkpoint.folder}/{MANIFEST}", {"format": FORMAT, "digest": checkpoint.digest, **asdict(checkpoint)}
    )


def delete_manifest(lake: Lake, run: str, step: int) -> None:
    """Take back the manifest of a step: its checkpoint does not exist any more."""
    lake.delete(f"{checkpoint_folder(run, step)}/{MANIFEST}")


def committed_steps(lake: Lake, run: str) -> list[int]:
    """The steps that have a manifest, ascending."""
    paths = (entry.path for entry in lake.list(checkpoints_folder(run)))
    return sorted(step_of(path) for path in paths if path.endswith(f"/{MANIFEST}"))


def read_checkpoint(lake: Lake, run: str, step: int) -> Checkpoint:
    """The manifest of a step. Raises NotThere when it is not committed and Corrupt when it cannot be read."""
    path = f"{checkpoint_folder(run, step)}/{MANIFEST}"
    values = lake.read_json(path)
    try:
        if values.pop("format") != FORMAT:
            raise Corrupt(f"{lake.uri}/{path} is of a format other than {FORMAT}; use the version that wrote it")
        digest = values.pop("digest")
        checkpoint = Checkpoint(**{**values, "files": tuple(map(stored_file, values["files"]))})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Corrupt(
            f"{lake.uri}/{path} is not a checkpoint's manifest ({error!r}); the checkpoint before it will do"
        ) from error
    if (checkpoint.run, checkpoint.step, checkpoint.digest) != (run, step, digest):
        raise Corrupt(f"{lake.uri}/{path} is not as it was written; the checkpoint before it will do")
    return checkpoint


def stored_file(values: dict[str, Any]) -> StoredFile:
    """A file from its plain values. Raises KeyError, TypeError or ValueError when they are others."""
    return StoredFile(**{**values, "slices": tuple(map(_stored_slice, values["slices"]))})


def newest_good(
    lake: Lake,
    run: str,
    cache: Path,
    report: Callable[[int, str], None],
    objection: Callable[[Checkpoint], str] = lambda checkpoint: "",
    check: Callable[[Checkpoint], None] | None = None,
) -> Checkpoint | None:
    """The newest committed checkpoint from which training can go on, with whole files; None when there is none.

    `objection(checkpoint)` says why one will not do, "" when it will. `report(step, reason)` is told of each newer one
    that will not. `check` reads the files in the place of `verify`, and raises what that raises. Raises
    StoreUnavailable when the store cannot be asked.
    """
    for step in reversed(committed_steps(lake, run)):
        try:
            checkpoint = read_checkpoint(lake, run, step)
            if checkpoint.pruned:
                report(step, f"{lake.uri}/{checkpoint.folder} keeps only its weights; training cannot go on from it")
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
    """Read the files that a checkpoint keeps, one at a time; copies are made in `cache` where the lake is remote.

    Of a `share` (i, n), every n-th file from the i-th on. Raises NotThere for a missing file and Corrupt for one with
    other bytes.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix="checkpoint-") as folder:
        # By size, as that is what is shared out.
        for file in sorted(checkpoint.kept, key=lambda file: file.bytes)[share[0] :: share[1]]:
            verified_file(lake, checkpoint.folder, file, Path(folder))
            (Path(folder) / file.object).unlink(missing_ok=True)


def verified_file(lake: Lake, folder: str, file: StoredFile, copies: Path) -> Path:
    """A local file with the bytes of a file of the checkpoint in `folder`: in place, or from a remote lake in `copies`.

    Raises NotThere, and Corrupt when its sha256 is not that of `file`.
    """
    path = f"{folder}/{file.object}"
    local = lake.local_path(path)
    if local is None:
        local = copies / file.object
        lake.download(path, local)
    if not local.exists():
        raise NotThere(f"{lake.uri}/{path} is not there, though the manifest beside it names it")
    if (found := sha256_file(local)) != file.sha256:
        raise Corrupt(
            f"{lake.uri}/{path} has sha256 {found} where {file.sha256} was written: its bytes changed or are cut short"
        )
    return local


def _stored_slice(values: dict[str, Any]) -> StoredSlice:
    box = Box(tuple(values["box"]["start"]), tuple(values["box"]["shape"]))
    return StoredSlice(**{**values, "shape": tuple(values["shape"]), "box": box})
