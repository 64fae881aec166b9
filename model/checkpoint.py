"""Checkpoints without a layout: files of slices, and a manifest that is committed last.

Without its manifest a checkpoint does not exist; with it, it is good when every file has the bytes that the manifest
says. The manifest holds nothing of when or where it was written, so a step that is done again gives the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.store import faults
from infra.store.digests import key_of, sha256_file
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake

FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoredSlice:
    """A tensor in a file: `length` elements of the flattened tensor `name` of that kind and shape, from `offset` on."""

    key: str
    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    length: int
    dtype: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What one rank wrote."""

    name: str
    sha256: str
    bytes: int
    slices: tuple[StoredSlice, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The training state after `step` updates, when `next_sequence` is the first sequence not yet seen.

    `fingerprint` and `seed` are those of the data order; `parent` is the digest of the checkpoint before, "" for the
    first.
    """

    run: str
    step: int
    next_sequence: int
    fingerprint: str
    seed: int
    parent: str
    files: tuple[StoredFile, ...]

    @property
    def digest(self) -> str:
        """The checkpoint's identity."""
        return key_of(asdict(self))

    @property
    def folder(self) -> str:
        """Where it lies in the lake."""
        return checkpoint_folder(self.run, self.step)


def checkpoint_folder(run: str, step: int) -> str:
    """Where the checkpoint of a step lies in the lake."""
    return f"runs/{run}/checkpoints/step-{step:06d}"


def commit(lake: Lake, checkpoint: Checkpoint) -> None:
    """Publish a checkpoint whose files are all there."""
    faults.reach("checkpoint.before_manifest")
    lake.write_json(
        f"{checkpoint.folder}/manifest.json", {"format": FORMAT, "digest": checkpoint.digest, **asdict(checkpoint)}
    )
    faults.reach("checkpoint.after_manifest")


def withdraw(lake: Lake, run: str, step: int) -> None:
    """Take back the manifest of a step before its files are written again."""
    lake.delete(f"{checkpoint_folder(run, step)}/manifest.json")


def committed_steps(lake: Lake, run: str) -> list[int]:
    """The steps that have a manifest, ascending."""
    paths = (entry.path for entry in lake.list(f"runs/{run}/checkpoints"))
    return sorted(int(path.split("/")[-2].removeprefix("step-")) for path in paths if path.endswith("/manifest.json"))


def read_checkpoint(lake: Lake, run: str, step: int) -> Checkpoint:
    """The manifest of a step. Raises NotThere when it is not committed and Corrupt when it cannot be read."""
    path = f"{checkpoint_folder(run, step)}/manifest.json"
    values = lake.read_json(path)
    try:
        if values.pop("format") != FORMAT:
            raise Corrupt(f"{lake.uri}/{path} is of a format other than {FORMAT}; use the version that wrote it")
        digest = values.pop("digest")
        checkpoint = Checkpoint(**{**values, "files": tuple(map(_stored_file, values["files"]))})
    except (AttributeError, KeyError, TypeError) as error:
        raise Corrupt(
            f"{lake.uri}/{path} is not a checkpoint's manifest ({error!r}); the checkpoint before it will do"
        ) from error
    if (checkpoint.run, checkpoint.step, checkpoint.digest) != (run, step, digest):
        raise Corrupt(f"{lake.uri}/{path} is not as it was written; the checkpoint before it will do")
    return checkpoint


def newest_good(lake: Lake, run: str, cache: Path, report: Callable[[int, str], None]) -> Checkpoint | None:
    """The newest committed checkpoint whose files are whole, None when there is none.

    `report(step, reason)` is told of each newer one that is not. Raises StoreUnavailable when the store cannot be
    asked.
    """
    for step in reversed(committed_steps(lake, run)):
        try:
            checkpoint = read_checkpoint(lake, run, step)
            with local_files(lake, checkpoint, cache):
                return checkpoint
        except (Corrupt, NotThere) as error:
            report(step, str(error))
    return None


@contextmanager
def local_files(lake: Lake, checkpoint: Checkpoint, cache: Path) -> Iterator[dict[str, Path]]:
    """Verified local files of a checkpoint by name, for the length of the block; copies are made in `cache` if need be.

    Raises NotThere for a missing file and Corrupt for one with other bytes.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix="checkpoint-") as folder:
        yield {
            file.name: verified_file(lake, f"{checkpoint.folder}/{file.name}", file, Path(folder))
            for file in checkpoint.files
        }


def verified_file(lake: Lake, path: str, file: StoredFile, folder: Path) -> Path:
    """A local file with the bytes of the object at `path`: in place for a local lake, else a copy in `folder`.

    Raises NotThere, and Corrupt when its sha256 is not that of `file`.
    """
    local = lake.local_path(path)
    if local is None:
        local = folder / file.name
        lake.download(path, local)
    if not local.exists():
        raise NotThere(f"{lake.uri}/{path} is not there, though the manifest beside it names it")
    if (found := sha256_file(local)) != file.sha256:
        raise Corrupt(
            f"{lake.uri}/{path} has sha256 {found} where {file.sha256} was written: its bytes changed or are cut short"
        )
    return local


def _stored_file(values: dict[str, Any]) -> StoredFile:
    slices = tuple(StoredSlice(**{**one, "shape": tuple(one["shape"])}) for one in values["slices"])
    return StoredFile(**{**values, "slices": slices})
