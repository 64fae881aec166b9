"""Background saving: training waits only for a copy of its state to host memory; a thread does the rest.

Each rank's thread writes its files, reads them back and writes a sidecar that lists them. Rank 0's thread waits for the
sidecars of all ranks, commits the manifest and applies the retention. The ranks synchronise only through the store: a
collective in a thread would interfere with those of training. A sidecar's name contains the launch and the number of
the save, so files of a killed launch are never mistaken for this launch's.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from infra.store import faults
from infra.store.digests import canonical
from infra.store.errors import Corrupt, NotThere, StoreError
from infra.store.lake import Lake
from infra.store.schema import read_object
from model.checkpoints.files import write_file
from model.checkpoints.manifest import (
    CONTENTS,
    Checkpoint,
    Content,
    StoredFile,
    checkpoint_folder,
    commit,
    delete_manifest,
)
from model.checkpoints.retention import NEWEST_TWO, Retention, apply_retention
from model.state.boxes import Box, tiles, whole
from model.state.slices import KINDS, Slice

# Seconds between two polls for another rank's sidecar: first and longest.
FIRST_WAIT, LONGEST_WAIT = 0.02, 1.0


class Abandoned(RuntimeError):
    """The saver was closed before a checkpoint was committed."""


@dataclass
class _Save:
    """A save in flight: the copied state and its outcome."""

    step: int
    number: int
    slices: dict[Content, list[Slice]]
    streams: dict[str, Tensor]
    trainer: dict[str, Any]
    parent: str | None
    ephemeral: bool
    checkpoint: Checkpoint | None = None
    ended: bool = False
    error: Exception | None = None
    thread: Thread = field(init=False)


class Saver:
    """One rank's saves of one launch, at most one at a time. All ranks begin the same saves in the same order.

    `launch` is a unique id. `cache` is a local folder; it holds one checkpoint file while that is written. Before
    training returns to an earlier step, all ranks must have called `finish` and synchronised.
    """

    def __init__(
        self,
        lake: Lake,
        run: str,
        rank: int,
        ranks: int,
        launch: str,
        cache: Path,
        retention: Retention = NEWEST_TWO,
    ) -> None:
        self.lake, self.run, self.rank, self.ranks, self.launch = lake, run, rank, ranks, launch
        self.retention = retention
        self._scratch = cache / f"saving-{run}-rank-{rank}"
        if self._scratch.exists():  # left by a killed launch
            shutil.rmtree(self._scratch)
        self._save: _Save | None = None
        # Called once a second while training blocks on a save; used by the heartbeat.
        self.on_wait: Callable[[], None] = lambda: None
        self._number = 0
        self._parent = ""
        self._committed: list[Checkpoint] = []
        self._verified: set[str] = set()
        self._closed = Event()

    def begin(
        self,
        step: int,
        slices: Iterable[Slice],
        streams: Mapping[str, Tensor],
        trainer: dict[str, Any],
        parent: str | None = None,
        ephemeral: bool = False,
    ) -> None:
        """Copy the state after `step` updates to host memory and return; a thread writes it in the background.

        `slices` are this rank's, on any device; `streams` are its generators' states by name (uint8); `trainer` is
        plain JSON. `parent` is the digest of the checkpoint from which training continued, None for this saver's
        previous one. An `ephemeral` checkpoint, saved out of schedule, is never a parent, so it does not change the
        run's other checkpoints. Waits for the previous save and raises its error. Raises ValueError or TypeError when
        `trainer` is not plain JSON.
        """
        self._wait()
        plain = json.loads(canonical(trainer))
        copies: dict[Content, list[Slice]] = {content: [] for content in CONTENTS}
        for part in slices:
            content: Content = "weights" if part.kind == "weight" else "state"
            copies[content].append(replace(part, values=_copy(part.values, torch.float32)))
        stream_copies = {name: _copy(stream, torch.uint8) for name, stream in streams.items()}
        if torch.cuda.is_available():
            # The copies are asynchronous; the next update would change their source.
            torch.cuda.current_stream().synchronize()
        self._number += 1
        self._save = _Save(step, self._number, copies, stream_copies, plain, parent, ephemeral)
        # A daemon thread: an error in training must end the process even while this thread waits.
        self._save.thread = Thread(target=self._run, args=(self._save,), name=f"save-{step}", daemon=True)
        self._save.thread.start()

    @property
    def idle(self) -> bool:
        """Whether `poll` has no outcome left to collect."""
        return self._save is None

    def poll(self) -> list[Checkpoint]:
        """The checkpoints committed since the last call; always empty on ranks other than 0. Does not wait.

        Raises the error of the latest save, with its step: a StoreError keeps its type, others become RuntimeError.
        """
        if self._save is None or not self._save.thread.is_alive():
            self._settle()
        ready, self._committed = self._committed, []
        return ready

    def finish(self) -> list[Checkpoint]:
        """Wait for the save in flight, then `poll`. It ends with the commit on rank 0, with its files on others."""
        self._wait()
        return self.poll()

    def close(self) -> None:
        """Abandon the save in flight after its current file. Never raises."""
        self._closed.set()
        if self._save is not None:
            self._save.thread.join()

    def _wait(self) -> None:
        while self._save is not None and self._save.thread.is_alive():
            self._save.thread.join(LONGEST_WAIT)
            self.on_wait()
        self._settle()

    def _settle(self) -> None:
        """Collect the outcome of a save whose thread has ended."""
        save = self._save
        if save is None:
            return
        if save.error is not None or not save.ended:
            message = f"saving the checkpoint of step {save.step}: {save.error or 'its thread died, see its traceback'}"
            raise (type(save.error) if isinstance(save.error, StoreError) else RuntimeError)(message) from save.error
        if save.checkpoint is not None:
            self._committed.append(save.checkpoint)
        self._save = None

    def _run(self, save: _Save) -> None:
        try:
            self._write(save)
        except (StoreError, SafetensorError, OSError, ValueError, Abandoned) as error:
            save.error = error
        save.ended = True

    def _write(self, save: _Save) -> None:
        folder = checkpoint_folder(self.run, save.step)
        if self.rank == 0:
            # An older checkpoint of this step belongs to a course that a rollback abandoned.
            delete_manifest(self.lake, self.run, save.step)
        files = []
        for content in CONTENTS:
            self._go_on(save)
            faults.reach(f"checkpoint.before_{content}")
            streams = save.streams if content == "state" else {}
            if save.slices[content] or streams:
                # Pop, to free the copy of the weights while the moments are written.
                slices = save.slices.pop(content)
                files.append(write_file(self.lake, folder, self.rank, content, slices, streams, self._scratch))
        if self.rank == 0:
            self._commit(save, files)
            return
        faults.reach("checkpoint.before_sidecar")
        self.lake.write_json(self._sidecar(save, self.rank), [asdict(file) for file in files])
        faults.reach("checkpoint.after_sidecar")

    def _commit(self, save: _Save, files: list[StoredFile]) -> None:
        for rank in range(1, self.ranks):
            files += self._files_of(save, rank)
        _require_whole(save.step, files)
        parent = self._parent if save.parent is None else save.parent
        checkpoint = Checkpoint(self.run, save.step, parent, save.trainer, tuple(files), save.ephemeral)
        self._go_on(save)
        commit(self.lake, checkpoint)
        self._parent = parent if save.ephemeral else checkpoint.digest
        self._verified.add(checkpoint.digest)
        save.checkpoint = checkpoint
        for rank in range(1, self.ranks):
            self.lake.delete(self._sidecar(save, rank))
        apply_retention(self.lake, self.run, save.step, self.retention, self._verified, self._scratch)

    def _files_of(self, save: _Save, rank: int) -> list[StoredFile]:
        wait = FIRST_WAIT
        while True:
            try:
                found = read_object(self.lake, self._sidecar(save, rank), tuple[StoredFile, ...])
                if any(file.rank != rank for file in found):
                    raise Corrupt(f"{self.lake.uri}/{self._sidecar(save, rank)} lists files of other ranks")
                return list(found)
            except NotThere:
                self._closed.wait(wait)
                self._go_on(save)
            wait = min(2 * wait, LONGEST_WAIT)

    def _sidecar(self, save: _Save, rank: int) -> str:
        return f"{checkpoint_folder(self.run, save.step)}/rank-{rank}-{self.launch}-{save.number}.json"

    def _go_on(self, save: _Save) -> None:
        if self._closed.is_set():
            raise Abandoned(f"the checkpoint of step {save.step} was abandoned because training ended first")


def _copy(values: Tensor, dtype: torch.dtype) -> Tensor:
    """A contiguous copy in host memory. From a GPU it is asynchronous, into pinned memory that PyTorch reuses."""
    return torch.empty(values.shape, dtype=dtype, pin_memory=values.is_cuda).copy_(values.detach(), non_blocking=True)


def _require_whole(step: int, files: Iterable[StoredFile]) -> None:
    """Raise ValueError unless the ranks' slices cover every tensor and both its moments exactly once."""
    boxes: dict[tuple[str, str], list[Box]] = defaultdict(list)
    shapes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for file in files:
        for stored in file.slices:
            boxes[stored.name, stored.kind].append(stored.box)
            shapes[stored.name].add(stored.shape)
    for name, found in shapes.items():
        for kind in KINDS:
            if len(found) > 1 or not all(tiles(whole(shape), boxes[name, kind]) for shape in found):
                raise ValueError(
                    f"step {step}: the ranks' slices of {kind} of {name} (shapes {sorted(found)}) do not cover the "
                    "tensor exactly once; fix the engine's state()"
                )
