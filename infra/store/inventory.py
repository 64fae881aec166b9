"""The inventory: the digests of input files that were hashed before, one object of the lake for each folder of them.

A file is known by its name, its size and its stamp (`infra.store.input_files`). A folder of 10,000 known files costs
one read. Two builds that write at the same time lose entries of one of them, and its files are hashed again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.schema import Count, Digest, sound_object

# Some 150 bytes each: far below the limit of an object. Beyond it, only files that are named now are kept.
_MOST_FILES = 1_000_000
_logger = logging.getLogger("millrace.store")


class KnownFiles:
    """What the inventory of a lake holds of the folders that were asked about."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._folders: dict[str, dict[str, _Known]] = {}
        self._changed: set[str] = set()

    def digest(self, uri: str, size: int, stamp: str) -> str | None:
        """The sha256 of a file if it was hashed in this state. Reads one object for each folder."""
        folder, _, name = uri.rpartition("/")
        found = self._files(folder).get(name)
        return found[2] if found is not None and found[:2] == (size, stamp) else None

    def add(self, uri: str, size: int, stamp: str, sha256: str) -> None:
        """A file that was hashed; `write` writes it."""
        folder, _, name = uri.rpartition("/")
        self._files(folder)[name] = (size, stamp, sha256)
        self._changed.add(folder)

    def write(self, named: Iterable[str]) -> None:
        """Write the folders that changed. `named` are the URIs of all files of this call."""
        wanted = set(named)
        for folder in sorted(self._changed):
            files = self._folders[folder]
            if len(files) > _MOST_FILES:
                files = {name: known for name, known in files.items() if f"{folder}/{name}" in wanted}
            self._lake.write_json(_path(folder), {"folder": folder, "files": files})
        self._changed.clear()

    def _files(self, folder: str) -> dict[str, _Known]:
        if folder not in self._folders:
            path = _path(folder)
            found = sound_object(self._lake, path, _Folder)
            if found is not None and found.folder != folder:
                _logger.warning(
                    "%s/%s is about %s: the files of %s are read again", self._lake.uri, path, found.folder, folder
                )
                found = None
            self._folders[folder] = {} if found is None else found.files
        return self._folders[folder]


_Known = tuple[Count, str, Digest]


@dataclass(frozen=True, slots=True)
class _Folder:
    """The object of one folder: name of a file → size, stamp, sha256."""

    folder: str
    files: dict[str, _Known]


def _path(folder: str) -> str:
    key = key_of(["folder", folder])
    return f"inventory/{key[:2]}/{key}.json"
