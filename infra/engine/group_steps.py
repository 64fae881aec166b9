"""The steps of grouped stages, in a worker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.engine.fitting import make_files, store_files
from infra.engine.kernels import model_of, stage_and_config
from infra.engine.shards import PartReader
from infra.engine.units import FinishUnit, GroupUnit
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Part, fetch_part


@dataclass(frozen=True)
class Group:
    """The files of one group of `rows` documents of a source, by the end of their names, which begin with `stem`."""

    source: str
    stem: str
    rows: int
    parts: dict[str, Part]
    lake: Lake
    folder: Path

    @contextlib.contextmanager
    def open(self, end: str) -> Iterator[Path]:
        """The file whose name ends so. A copy of a remote one is deleted afterwards. Raises NotThere or Corrupt."""
        path = fetch_part(self.lake, self.parts[end], self.folder)
        try:
            yield path
        finally:
            if path.parent == self.folder:
                path.unlink(missing_ok=True)


def group_step(unit: GroupUnit, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    """Make the files of one group, named by their ends. Raises KernelError if the kernel left documents unread."""
    return make_files(unit, reader, folder, unit.place)


def finish_step(unit: FinishUnit, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    """Make the files of the whole artifact. The groups account for the documents."""
    stage, config = stage_and_config(unit.call)
    groups = [
        Group(source, stem, rows, {part.name: part for part in parts}, unit.lake, folder)
        for source, stem, rows, parts in unit.groups
    ]
    arguments: list[Any] = [groups, config, folder]
    if stage.load is not None:
        arguments.append(model_of(unit.call, unit.lake, folder.parent))
    return store_files(unit.lake, stage.steps["finish"](*arguments)), Account(), {}
