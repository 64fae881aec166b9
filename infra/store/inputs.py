"""Input files: finding them, and knowing them by digest without reading them twice.

The inventory caches (URI, size, ETag or mtime) → sha256 in the lake. Unknown files are hashed in parallel.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from infra.store.digests import key_of, sha256_stream
from infra.store.errors import NotThere, StoreError
from infra.store.lake import Lake, s3_filesystem, store_errors

_HASHING_THREADS = 4


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read: where it is, its name for people, its size in bytes and the sha256 of its bytes."""

    uri: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Inventory:
    """The digests of the input files of a build, and how many bytes had to be read to learn them."""

    files: tuple[InputFile, ...]
    hashed_bytes: int


def take_inventory(lake: Lake, patterns: Iterable[str]) -> Inventory:
    """The files that paths, folders, globs and ``s3://`` URIs name, in the order given, globs sorted by path.

    Raises NotThere for a pattern that names no file, and StoreError for a file named twice.
    """
    found: list[tuple[str, int, str]] = []
    for pattern in patterns:
        matches = list(_match(pattern))
        if not matches:
            raise NotThere(f"{pattern} names no file. Check the path; quote globs so that they arrive whole.")
        found += matches
    uris = [uri for uri, _, _ in found]
    if len(set(uris)) < len(uris):
        twice = next(uri for uri in uris if uris.count(uri) > 1)
        raise StoreError(f"{twice} is named twice by the inputs: its documents would be read twice")
    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        known = list(threads.map(lambda file: _digest(lake, *file), found))
    return Inventory(tuple(file for file, _ in known), sum(file.size for file, hashed in known if hashed))


@contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """The bytes of an input file, buffered."""
    if uri.startswith("s3://"):
        with store_errors(uri), s3_filesystem().open(uri, "rb", block_size=8 << 20, cache_type="readahead") as stream:
            yield stream
    else:
        if not os.path.exists(uri):
            raise NotThere(f"{uri} is not there any more. Give the inputs again.")
        with open(uri, "rb", buffering=1 << 20) as stream:
            yield stream


def _match(pattern: str) -> Iterator[tuple[str, int, str]]:
    if pattern.startswith("s3://"):
        yield from _match_s3(pattern)
        return
    path = str(Path(pattern.removeprefix("file://")).expanduser().absolute())
    if os.path.isdir(path):
        path = glob.escape(path) + "/**"
    names = [path] if os.path.isfile(path) else sorted(glob.glob(path, recursive=True))
    for name in names:
        if os.path.isfile(name):
            status = os.stat(name)
            yield name, status.st_size, str(status.st_mtime_ns)


def _match_s3(pattern: str) -> Iterator[tuple[str, int, str]]:
    with store_errors(pattern):
        filesystem = s3_filesystem()
        if any(character in pattern for character in "*?["):
            found: dict[str, Any] = filesystem.glob(pattern, detail=True)
        else:
            found = filesystem.find(pattern, detail=True)
    for path in sorted(found):
        if found[path]["type"] == "file":
            stamp = found[path].get("ETag") or str(found[path].get("LastModified"))
            yield f"s3://{path}", int(found[path]["size"]), str(stamp)


def _digest(lake: Lake, uri: str, size: int, stamp: str) -> tuple[InputFile, bool]:
    key = key_of([uri, size, stamp])
    path = f"inventory/{key[:2]}/{key}.json"
    try:
        return InputFile(uri, size, lake.read_json(path)["sha256"]), False
    except NotThere:
        pass
    with open_input(uri) as stream:
        sha256 = sha256_stream(stream)
    lake.write_json(path, {"uri": uri, "size": size, "stamp": stamp, "sha256": sha256})
    return InputFile(uri, size, sha256), True
