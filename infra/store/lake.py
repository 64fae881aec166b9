"""The lake: one object store under one URI, a local folder or ``s3://bucket/prefix``.

An object is visible whole or not at all, on either kind of store. "Not there" and "could not ask" are
different answers: the first is `NotThere`, the second `StoreUnavailable`. Listings discover what may exist and
never prove that something does not.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.store import faults
from infra.store.digests import canonical
from infra.store.errors import Corrupt, NotThere, StoreDenied, StoreError, StoreFull, StoreUnavailable

FORMAT = 1
_FORMAT_PATH = "format.json"
_PART_SIZE = 32 << 20
# Both bound what a worker holds in memory while it uploads: 128 MiB.
_PARTS_AT_ONCE = 4
# A store that does not answer is StoreUnavailable after _TRIES times _TRIES_INSIDE waits: about two minutes.
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
_TRIES = 2
_TRIES_INSIDE = 3
# No client library watches the time while it sends: a write is given this long, and a byte at the slowest rate more.
_WRITE_SECONDS = 120.0
_SLOWEST_BYTES_PER_SECOND = 1 << 18


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing: its path in the lake, its size in bytes and when it was written (POSIX seconds)."""

    path: str
    size: int
    modified: float


@dataclass(frozen=True)
class Lake:
    """An object store. Holds only its URI, so that it travels to workers; connections are made where they are used."""

    uri: str

    @classmethod
    def open(cls, uri: str) -> Lake:
        """The lake at `uri`, marked with our format version if it is new.

        Raises StoreError when the lake was written by a newer Millrace, and the store's own errors when it
        cannot be reached.
        """
        lake = cls(_absolute(uri))
        try:
            found = lake.read_json(_FORMAT_PATH).get("format")
        except NotThere:
            try:
                lake.write_json(_FORMAT_PATH, {"format": FORMAT})
            except NotThere as error:
                raise StoreError(
                    f"{lake.uri} cannot be made: there is no such bucket, or a file is where a folder should be. "
                    "Make the bucket, or name another place."
                ) from error
            return lake
        if found != FORMAT:
            raise StoreError(
                f"{lake.uri} is a lake of format {found}; this Millrace reads format {FORMAT}. "
                "Use the version of Millrace that wrote it, or another folder."
            )
        return lake

    def read(self, path: str) -> bytes:
        """The whole object. Raises NotThere, StoreUnavailable or StoreDenied."""
        with store_errors(f"{self.uri}/{path}"):
            return bytes(self._filesystem().cat_file(self._full(path)))

    def read_json(self, path: str) -> Any:
        """The object as JSON. Raises Corrupt when it is not JSON."""
        data = self.read(path)
        try:
            return json.loads(data)
        except ValueError as error:
            raise Corrupt(
                f"{self.uri}/{path} is not JSON ({error}): delete it, and what it describes is made again"
            ) from error

    def write(self, path: str, data: bytes) -> None:
        """Write the whole object, or leave nothing new to be seen; an older object of that path is replaced."""
        with store_errors(f"{self.uri}/{path}"):
            if self._is_local():
                with _local_replacement(Path(self._full(path))) as stream:
                    stream.write(data)
            else:
                self._filesystem().pipe_file(self._full(path), data, timeout=_time_to_write(len(data)))
        self._check_size(path, len(data))

    def write_json(self, path: str, value: Any) -> None:
        """Write `value` as canonical JSON."""
        self.write(path, canonical(value))

    def upload(self, local: Path, path: str) -> None:
        """Copy a local file into the lake; its size is checked afterwards."""
        size = local.stat().st_size
        with store_errors(f"{self.uri}/{path}"):
            if self._is_local():
                with _local_replacement(Path(self._full(path))) as stream, open(local, "rb") as source:
                    while block := source.read(1 << 20):
                        stream.write(block)
                        faults.reach("inside_part")
            else:
                faults.reach("inside_part")
                self._filesystem().put_file(
                    str(local),
                    self._full(path),
                    chunksize=_PART_SIZE,
                    max_concurrency=_PARTS_AT_ONCE,
                    timeout=_time_to_write(size),
                )
        self._check_size(path, size)

    def download(self, path: str, local: Path) -> None:
        """Copy an object to a local file, which appears whole or not at all."""
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f".{local.name}.{uuid.uuid4().hex}")
        try:
            with store_errors(f"{self.uri}/{path}"):
                self._filesystem().get_file(self._full(path), str(partial))
            os.replace(partial, local)
        finally:
            partial.unlink(missing_ok=True)

    def size(self, path: str) -> int | None:
        """The object's size in bytes; None only when the store says that it is not there."""
        try:
            with store_errors(f"{self.uri}/{path}"):
                information = self._filesystem().info(self._full(path))
        except NotThere:
            return None
        return None if information["type"] == "directory" else int(information["size"])

    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects under the folder `prefix`, in order of their paths."""
        root = self._full("")
        with store_errors(f"{self.uri}/{prefix}"):
            try:
                found = self._filesystem().find(self._full(prefix), detail=True)
            except FileNotFoundError:
                return
        for path in sorted(found):
            information = found[path]
            name = path.removeprefix(root)
            if information["type"] == "file" and not Path(name).name.startswith(".partial-"):
                yield Entry(name, int(information["size"]), _modified(information))

    def delete(self, path: str) -> None:
        """Delete one object; that it is already gone is no error."""
        # Key by key: Swift's bulk delete asks for a Content-MD5 that botocore no longer sends.
        with contextlib.suppress(NotThere), store_errors(f"{self.uri}/{path}"):
            self._filesystem().rm_file(self._full(path))

    def local_path(self, path: str) -> Path | None:
        """Where the object lies on this machine's disk, or None for a remote store."""
        return Path(self._full(path)) if self._is_local() else None

    def _check_size(self, path: str, expected: int) -> None:
        found = self.size(path)
        if found != expected:
            raise StoreUnavailable(f"{self.uri}/{path} has {found} bytes after writing {expected}")

    def _is_local(self) -> bool:
        return "://" not in self.uri

    def _full(self, path: str) -> str:
        return f"{self.uri.removeprefix('s3://')}/{path}"

    def _filesystem(self) -> Any:
        if self._is_local():
            import fsspec

            return fsspec.filesystem("file")
        return s3_filesystem()


def s3_filesystem() -> Any:
    """The S3 filesystem of this process, set up by the standard AWS_* variables, with no listings kept."""
    try:
        import s3fs
    except ImportError as error:
        raise StoreError("s3:// needs the extra packages: pip install 'millrace[s3]'") from error
    filesystem = s3fs.S3FileSystem(
        use_listings_cache=False,
        # One request a read instead of two, and downloads as a stream, which goes on where a connection broke.
        max_concurrency=1,
        default_fill_cache=False,
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        # "when_required": stores other than Amazon's refuse the checksums that botocore began to add unasked.
        config_kwargs={
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _ANSWER_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": _TRIES_INSIDE},
        },
    )
    # s3fs repeats what botocore has repeated already: left alone, 25 tries before anyone hears of it.
    filesystem.retries = _TRIES
    return filesystem


def _time_to_write(size: int) -> float:
    return _WRITE_SECONDS + size / _SLOWEST_BYTES_PER_SECOND


def _absolute(uri: str) -> str:
    if uri.startswith("s3://"):
        return uri.rstrip("/")
    if "://" in uri and not uri.startswith("file://"):
        raise StoreError(f"{uri}: a lake is a local folder or s3://bucket/prefix")
    return str(Path(uri.removeprefix("file://")).expanduser().absolute())


def _modified(information: dict[str, Any]) -> float:
    if "mtime" in information:
        return float(information["mtime"])
    return float(information["LastModified"].timestamp())


@contextlib.contextmanager
def _local_replacement(path: Path) -> Iterator[Any]:
    """A stream whose bytes become the file at `path` in one step once the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{uuid.uuid4().hex}")
    try:
        with open(partial, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Translate what filesystems raise into the lake's own errors."""
    try:
        yield
    except StoreError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThere(f"{what} is not there") from error
    except PermissionError as error:
        raise StoreDenied(f"{what}: the store refused ({error}). Check the credentials and permissions.") from error
    except (TimeoutError, ConnectionError) as error:
        raise StoreUnavailable(f"{what}: the store did not answer ({str(error) or type(error).__name__})") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"{what}: no space is left. Free some, and run the same command again.") from error
        raise StoreUnavailable(f"{what}: {error}") from error
    except Exception as error:
        # botocore's errors share no base with OSError and must not be imported where there is no S3.
        if type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp"):
            if "Credentials" in type(error).__name__:
                raise StoreDenied(f"{what}: {error}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.") from error
            raise StoreUnavailable(f"{what}: {error}") from error
        raise
