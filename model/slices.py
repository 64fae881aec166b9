"""The files of a checkpoint: safetensors with the slices that a rank owns, and its random stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from infra.store.digests import sha256_file
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.checkpoint import Checkpoint, StoredFile, StoredSlice, checkpoint_folder, local_files, verified_file
from model.engine import Kind, Slice

RANDOM = "random_stream"


def write_slices(
    lake: Lake, run: str, step: int, rank: int, slices: Iterable[Slice], random_stream: Tensor, cache: Path
) -> StoredFile:
    """Write a rank's file of the checkpoint of `step`, read it back and compare. Raises Corrupt when it differs."""
    tensors, stored = {RANDOM: random_stream}, []
    for one in slices:
        key = f"{one.kind}/{one.name}/{one.offset}"
        tensors[key] = one.values.contiguous()
        dtype = str(one.values.dtype).removeprefix("torch.")
        stored.append(StoredSlice(key, one.name, one.kind, one.shape, one.offset, one.values.numel(), dtype))
    name = f"rank-{rank}.safetensors"
    path = f"{checkpoint_folder(run, step)}/{name}"
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix="checkpoint-") as folder:
        local = Path(folder) / name
        save_file(tensors, local)
        file = StoredFile(name, sha256_file(local), local.stat().st_size, tuple(stored))
        lake.upload(local, path)
        local.unlink()
        verified_file(lake, path, file, Path(folder))
    return file


class StateReader:
    """Any stretch of any tensor of a checkpoint, whatever the layout that wrote it."""

    def __init__(self, checkpoint: Checkpoint, files: dict[str, Any]) -> None:
        self.checkpoint, self._files = checkpoint, files
        self._index: dict[tuple[str, str], list[tuple[StoredSlice, Any]]] = defaultdict(list)
        for file in checkpoint.files:
            for one in file.slices:
                self._index[one.name, one.kind].append((one, files[file.name]))
        for pieces in self._index.values():
            pieces.sort(key=lambda piece: piece[0].offset)

    def read(self, name: str, kind: Kind, offset: int, length: int) -> Tensor:
        """`length` elements of a flattened tensor from `offset` on, 1-D. Raises Corrupt when any is missing."""
        pieces, position = [], offset
        for one, file in self._index.get((name, kind), []):
            if one.offset <= position < one.offset + one.length and position < offset + length:
                stop = min(one.offset + one.length, offset + length)
                pieces.append(file.get_slice(one.key)[position - one.offset : stop - one.offset])
                position = stop
        if position != offset + length:
            raise Corrupt(
                f"{self.checkpoint.folder}: {kind} of {name} ends at element {position} where {offset + length} are "
                "needed; the checkpoint is of another model"
            )
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def random_stream(self, rank: int) -> Tensor | None:
        """The state of a rank's generator, None when fewer ranks wrote the checkpoint."""
        file = self._files.get(f"rank-{rank}.safetensors")
        return None if file is None else file.get_tensor(RANDOM)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parameters that it holds."""
        return {name: pieces[0][0].shape for (name, kind), pieces in self._index.items() if kind == "weight"}


@contextmanager
def open_state(lake: Lake, checkpoint: Checkpoint, cache: Path) -> Iterator[StateReader]:
    """The state of a checkpoint, from verified files. Raises NotThere or Corrupt."""
    with ExitStack() as stack:
        paths = stack.enter_context(local_files(lake, checkpoint, cache))
        files = {name: stack.enter_context(safe_open(str(path), "pt")) for name, path in paths.items()}
        yield StateReader(checkpoint, files)
