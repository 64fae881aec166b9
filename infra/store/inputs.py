"""Input files: finds them and computes their digests, reading each file only once.

The inventory (`infra.store.inventory`) caches (URI, size, stamp) → sha256 in the lake. The stamp is the ETag, or the
times and the inode of a local file. Files that are not in the cache are hashed in parallel.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from infra.store.digests import sha256_stream
from infra.store.errors import NotThere, StoreDenied, StoreError
from infra.store.input_files import local_status, match_local
from infra.store.inventory import KnownFiles
from infra.store.lake import Lake, s3_filesystem, store_errors
from infra.store.roots import require_inside
from infra.store.schema import Count, Digest, read_object

PINS = "inputs"  # a folder of the lake
_HASHING_THREADS = 4
# What a killed build has hashed within this time is hashed again.
_SECONDS_BETWEEN_WRITES = 60.0


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read: its URI, its size in bytes, its sha256, and its stamp when it was hashed."""

    uri: str
    size: int
    sha256: str
    stamp: str

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Inventory:
    """The digests of the input files of a build, and the number of bytes that were hashed."""

    files: tuple[InputFile, ...]
    hashed_bytes: int


def take_inventory(lake: Lake, patterns: Iterable[str]) -> Inventory:
    """The files that match paths, folders, globs and ``s3://`` URIs, in the order given; globs are sorted by path.

    Raises NotThere for a pattern without a match, StoreError for a file that matches twice, two copies of one file, or
    a file that changes while it is read, and what `infra.store.input_files` raises.
    """
    found: list[tuple[str, int, str]] = []
    for pattern in patterns:
        require_inside(without_wildcards(pattern), "the input")
        matches = list(_match(pattern))
        if not matches:
            raise NotThere(
                f"{pattern} matches no file. Check the path; quote globs to keep the shell from expanding them."
            )
        for uri, _, _ in matches:  # a link inside a root may lead out of it
            require_inside(uri, "the input")
        found += matches
    uris = [uri for uri, _, _ in found]
    if len(set(uris)) < len(uris):
        [(twice, _)] = Counter(uris).most_common(1)
        raise StoreError(f"the inputs contain {twice} twice: its documents would be read twice")
    known, hashed_bytes = _digests(lake, found)
    by_digest: dict[str, str] = {}
    for file in known:
        twin = by_digest.setdefault(file.sha256, file.uri)
        if twin != file.uri and file.size:
            raise StoreError(f"{twin} and {file.uri} are the same file: all of its documents would be duplicates")
    return Inventory(tuple(known), hashed_bytes)


def without_wildcards(pattern: str) -> str:
    """The folder that holds everything that a glob can match; another path as it is."""
    first = min((found for found in map(pattern.find, "*?[") if found >= 0), default=-1)
    return pattern if first < 0 else pattern[: pattern.rfind("/", 0, first) + 1] or "."


def pinned_inventory(lake: Lake, patterns: Iterable[str], pin: str | None) -> tuple[InputFile, ...]:
    """The files of `take_inventory`, found once for each `pin`: later calls give the same files, there or not.

    A retry of a run then never reads another set of files. Without a pin the patterns are always expanded. Raises
    what `take_inventory` raises, and Corrupt for a damaged list of pinned files.
    """
    if pin is None:
        return take_inventory(lake, patterns).files
    path = f"{PINS}/{pin}.json"
    try:
        values = read_object(lake, path, tuple[tuple[str, Count, Digest, str], ...], "Delete it, and start again")
    except NotThere:
        files = take_inventory(lake, patterns).files
        lake.write_json(path, [[file.uri, file.size, file.sha256, file.stamp] for file in files])
        return files
    return tuple(InputFile(uri, size, sha256, stamp) for uri, size, sha256, stamp in values)


def check_unchanged(file: InputFile) -> None:
    """Raises StoreError when the file has changed since it was hashed."""
    found = _status(file.uri)
    if found == (file.size, file.stamp):
        return
    # A new link to a file, or another mode, changes the stamp and not the content.
    if found is None or found[0] != file.size or _sha256(file.uri) != file.sha256:
        raise StoreError(
            f"{file.uri} changed after this run found it. Wait until it is complete, then start a new run."
        )


@contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """Open an input file as a buffered stream of bytes."""
    if uri.startswith("s3://"):
        with store_errors(uri):
            opened = s3_filesystem().open(uri, "rb", block_size=8 << 20, cache_type="readahead")
        with opened, io.BufferedReader(_RemoteStream(uri, opened), 1 << 20) as stream:
            yield stream
    else:
        try:
            opened = open(uri, "rb", buffering=1 << 20)  # noqa: SIM115 - closed below
        except FileNotFoundError as error:
            raise NotThere(f"{uri} no longer exists. Give the inputs again.") from error
        except PermissionError as error:
            raise StoreDenied(f"{uri} cannot be read: {error.strerror}. Change its mode") from error
        with opened as stream:
            yield stream


class _RemoteStream(io.RawIOBase):
    """A remote file whose reads raise the lake's errors, so that they differ from errors of the parser."""

    def __init__(self, uri: str, stream: Any) -> None:
        self._uri, self._stream = uri, stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._stream.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with store_errors(self._uri):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _match(pattern: str) -> Iterator[tuple[str, int, str]]:
    if pattern.startswith("s3://"):
        yield from _match_s3(pattern, any(character in pattern for character in "*?["))
        return
    for path in match_local(pattern):
        status = local_status(path)
        if status is not None:
            yield path, *status


def _status(uri: str) -> tuple[int, str] | None:
    if uri.startswith("s3://"):
        return next(((size, stamp) for _, size, stamp in _match_s3(uri, False)), None)
    return local_status(uri)


def _match_s3(pattern: str, is_glob: bool) -> Iterator[tuple[str, int, str]]:
    with store_errors(pattern):
        filesystem = s3_filesystem()
        if is_glob:
            found: dict[str, Any] = filesystem.glob(pattern, detail=True)
        else:
            found = filesystem.find(pattern, detail=True)
    for path in sorted(found):
        if found[path]["type"] == "file":
            stamp = found[path].get("ETag") or str(found[path].get("LastModified"))
            yield f"s3://{path}", int(found[path]["size"]), str(stamp)


def _digests(lake: Lake, found: Sequence[tuple[str, int, str]]) -> tuple[list[InputFile], int]:
    """The files with their digests, and the number of bytes that were hashed for them."""
    inventory = KnownFiles(lake)
    known = {uri: inventory.digest(uri, size, stamp) for uri, size, stamp in found}
    unknown = [file for file in found if known[file[0]] is None]
    written = time.monotonic()
    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        for file in threads.map(_hashed, unknown):
            known[file.uri] = file.sha256
            inventory.add(file.uri, file.size, file.stamp, file.sha256)
            if time.monotonic() - written > _SECONDS_BETWEEN_WRITES:
                inventory.write(known)
                written = time.monotonic()
    inventory.write(known)
    return [InputFile(uri, size, known[uri] or "", stamp) for uri, size, stamp in found], sum(
        size for _, size, _ in unknown
    )


def _hashed(found: tuple[str, int, str]) -> InputFile:
    uri, size, stamp = found
    file = InputFile(uri, size, _sha256(uri), stamp)
    check_unchanged(file)
    return file


def _sha256(uri: str) -> str:
    with open_input(uri) as stream:
        return sha256_stream(stream)
