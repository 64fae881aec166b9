"""The files of a checkpoint: safetensors files with the slices that a rank owns and its random streams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from infra.store.digests import sha256_file
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoints.manifest import Checkpoint, Content, StoredFile, StoredSlice, verified_file
from model.state.boxes import Box, intersection, tiles
from model.state.slices import Kind, Slice

RANDOM = "random_stream/"


def write_file(
    lake: Lake,
    folder: str,
    rank: int,
    content: Content,
    slices: Sequence[Slice],
    streams: Mapping[str, Tensor],
    scratch: Path,
) -> StoredFile:
    """Write slices (contiguous, fp32, on the CPU) and random streams (uint8) as a file of the checkpoint in `folder`.

    Reads the object back and raises Corrupt when it differs. `scratch` temporarily holds one local copy.
    """
    stored = tuple(StoredSlice(part.name, part.kind, part.shape, part.box) for part in slices)
    tensors = {what.key: part.values for what, part in zip(stored, slices, strict=True)}
    if len(tensors) != len(slices):
        raise ValueError(
            f"{folder}: rank {rank} returned two {content} slices with the same start in one tensor; fix the engine's "
            "state()"
        )
    tensors |= {f"{RANDOM}{name}": stream for name, stream in streams.items()}
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as local_folder:
        local = Path(local_folder) / "written"
        save_file(tensors, local)
        file = StoredFile(rank, content, sha256_file(local), local.stat().st_size, stored)
        lake.upload(local, f"{folder}/{file.object}")
        local.unlink()
        verified_file(lake, folder, file, Path(local_folder))
    return file


@contextmanager
def open_state(lake: Lake, checkpoint: Checkpoint, cache: Path) -> Iterator[StateReader]:
    """Open the state of a checkpoint. Each file is verified when its first slice is read.

    Files of a remote lake are copied into `cache` until the block ends.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix="checkpoint-") as copies, ExitStack() as opened:
        yield StateReader(lake, checkpoint, Path(copies), opened)


class StateReader:
    """Reads any box of any tensor of a checkpoint, independent of the layout that wrote it."""

    def __init__(self, lake: Lake, checkpoint: Checkpoint, copies: Path, opened: ExitStack) -> None:
        self.lake, self.checkpoint = lake, checkpoint
        self._copies, self._opened = copies, opened
        self._files: dict[str, Any] = {}
        self._index: dict[tuple[str, str], list[tuple[StoredSlice, StoredFile]]] = defaultdict(list)
        for file in checkpoint.kept:
            for entry in file.slices:
                self._index[entry.name, entry.kind].append((entry, file))

    def read(self, name: str, kind: Kind, box: Box) -> Tensor:
        """That box of a tensor: fp32, of shape `box.shape`. Reads nothing outside the box.

        Raises Corrupt when an element is missing or duplicated or a file has changed. Raises NotThere when a file is
        missing or retention has deleted the moments.
        """
        if kind != "weight":
            self._require_state()
        found: list[tuple[Box, StoredSlice, StoredFile]] = []
        for entry, file in self._index.get((name, kind), ()):
            if len(entry.shape) != len(box.shape):
                raise Corrupt(
                    f"{self._where()}: {kind} of {name} has shape {entry.shape}, which cannot contain {box}; the "
                    "checkpoint is of another model"
                )
            if (common := intersection(entry.box, box)) is not None:
                found.append((common, entry, file))
        if not tiles(box, (common for common, _, _ in found)):
            raise Corrupt(
                f"{self._where()}: {kind} of {name} from {box.start} to {box.stop} is not stored exactly once; the "
                "checkpoint is of another model"
            )
        values = torch.empty(box.shape)
        for common, entry, file in found:
            stored = self._open(file)
            # A tensor without dimensions has no slices.
            piece = stored.get_slice(entry.key)[common.inside(entry.box)] if box.shape else stored.get_tensor(entry.key)
            values[common.inside(box)] = piece
        return values

    def random_streams(self, rank: int) -> dict[str, Tensor] | None:
        """The states of a rank's generators by name, or None when fewer ranks wrote the checkpoint.

        Raises NotThere when retention has deleted them.
        """
        self._require_state()
        for file in self.checkpoint.files:
            if (file.rank, file.content) == (rank, "state"):
                stored = self._open(file)
                keys = [key for key in stored.keys() if key.startswith(RANDOM)]  # noqa: SIM118 - not a mapping
                return {key.removeprefix(RANDOM): stored.get_tensor(key).clone() for key in keys}
        return None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The whole shapes of all parameters by name."""
        return {name: pieces[0][0].shape for (name, kind), pieces in self._index.items() if kind == "weight"}

    def _open(self, file: StoredFile) -> Any:
        if file.object not in self._files:
            path = verified_file(self.lake, self.checkpoint.folder, file, self._copies)
            self._files[file.object] = self._opened.enter_context(safe_open(str(path), "pt"))
        return self._files[file.object]

    def _require_state(self) -> None:
        if self.checkpoint.pruned:
            raise NotThere(f"{self._where()} keeps only its weights; use a checkpoint with its whole state")

    def _where(self) -> str:
        return f"{self.lake.uri}/{self.checkpoint.folder}"
