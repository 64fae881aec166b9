"""The lake: one object store under one URI, a local folder or ``s3://bucket/prefix``.

Writes are atomic on both kinds of store: an object is either complete or not visible. A missing object raises
`NotThere`; an unreachable store raises `StoreUnavailable`. A listing is complete or fails. It shows the state at
the time of the listing and does not prove that an object is absent now.

Others may write the store too, so nothing in it is trusted: no path leads out of the lake, no link below its folder is
followed, and no object read into memory is larger than `READ_LIMIT`. What objects say is checked by
`infra.store.schema`.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.store import faults
from infra.store import local as files
from infra.store.digests import canonical
from infra.store.errors import Corrupt, NotThere, StoreDenied, StoreError, StoreFull, StoreUnavailable
from infra.store.paths import check_path
from infra.store.schema import Count, parse_json, read_value

FORMAT = 2
OLDEST_FORMAT = 1  # the oldest format that `millrace lake upgrade` can convert
_FORMAT_PATH = "format.json"
# The manifest of half a million shards. Objects read as a whole are records and logs; parts are copied in blocks.
READ_LIMIT = 256 << 20
_PART_SIZE = 32 << 20
# Together they bound the memory of an upload: 128 MiB per worker.
_PARTS_AT_ONCE = 4
# A store that does not answer raises StoreUnavailable after _TRIES * _TRIES_INSIDE timeouts: about two minutes.
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
_TRIES = 2
_TRIES_INSIDE = 3
# The client libraries have no timeout for sending. A write may take this long plus its size at the slowest rate.
_WRITE_SECONDS = 120.0
_SLOWEST_BYTES_PER_SECOND = 1 << 18


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its path in the lake, its size in bytes and its modification time (POSIX seconds).

    `upload` is set only for an unfinished write, which shows no object yet: the store's id of that write.
    """

    path: str
    size: int
    modified: float
    upload: str | None = None


@dataclass(frozen=True)
class Lake:
    """An object store. Holds only its URI, so it can be sent to workers; each process opens its own connections."""

    uri: str

    @classmethod
    def open(cls, uri: str) -> Lake:
        """Open the lake at `uri`; write the format version if the lake is new.

        Raises StoreError, with the remedy, when the lake has another format, and the store's errors when the store
        cannot be reached.
        """
        lake = cls(_absolute(uri))
        try:
            found = lake.format()
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
            older = OLDEST_FORMAT <= found < FORMAT
            cure = f"Upgrade it: millrace lake upgrade --lake {uri}" if older else "Use the version that wrote it."
            raise StoreError(f"{lake.uri} is a lake of format {found}; this Millrace reads format {FORMAT}. {cure}")
        return lake

    def impatient(self) -> Lake:
        """This lake, for operations whose caller goes on without an answer: see `infra.store.patient`."""
        return self

    def format(self) -> int:
        """The format version of the lake. Raises NotThere when there is no lake at this URI, and Corrupt."""
        where = f"{self.uri}/{_FORMAT_PATH}"
        try:
            return read_value(_Format, self.read_json(_FORMAT_PATH), where).format
        except Corrupt as error:
            raise Corrupt(f'{error}. If this is a lake, write {{"format": {FORMAT}}} into {where}.') from error

    def set_format(self, number: int) -> None:
        """Write the format version: the last step of an upgrade."""
        self.write_json(_FORMAT_PATH, {"format": number})

    def read(self, path: str) -> bytes:
        """Read a whole object. Raises NotThere, StoreUnavailable or StoreDenied, and Corrupt above `READ_LIMIT`."""
        with store_errors(f"{self.uri}/{path}"):
            if self._is_local():
                return files.read(self.uri, check_path(path), READ_LIMIT)
            data = self._read_s3(self._full(path))
        if len(data) > READ_LIMIT:
            raise Corrupt(
                f"{self.uri}/{path} has more than {READ_LIMIT:,} bytes: Millrace writes no such object. Delete it."
            )
        return data

    def read_json(self, path: str) -> Any:
        """Read an object as JSON; `infra.store.schema` checks what it says. Raises Corrupt when it is not JSON."""
        return parse_json(self.read(path), f"{self.uri}/{path}")

    def write(self, path: str, data: bytes) -> None:
        """Write an object atomically; replaces an existing object at the path."""
        with store_errors(f"{self.uri}/{path}"):
            if self._is_local():
                with files.replacement(self.uri, check_path(path)) as stream:
                    stream.write(data)
            else:
                s3_filesystem().pipe_file(self._full(path), data, timeout=_time_to_write(len(data)))
        self._check_size(path, len(data))

    def write_json(self, path: str, value: Any) -> None:
        """Write `value` as canonical JSON."""
        self.write(path, canonical(value))

    def upload(self, local: Path, path: str) -> None:
        """Copy a local file into the lake, then check the size of the stored object."""
        size = local.stat().st_size
        with store_errors(f"{self.uri}/{path}"):
            if self._is_local():
                with files.replacement(self.uri, check_path(path)) as stream, open(local, "rb") as source:
                    while block := source.read(1 << 20):
                        stream.write(block)
                        faults.reach("inside_part")
            else:
                faults.reach("inside_part")
                s3_filesystem().put_file(
                    str(local),
                    self._full(path),
                    chunksize=_PART_SIZE,
                    max_concurrency=_PARTS_AT_ONCE,
                    timeout=_time_to_write(size),
                )
        self._check_size(path, size)

    def download(self, path: str, local: Path) -> None:
        """Copy an object to a local file atomically."""
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f".{local.name}.{uuid.uuid4().hex}")
        try:
            with store_errors(f"{self.uri}/{path}"):
                if self._is_local():
                    files.copy_out(self.uri, check_path(path), partial)
                else:
                    s3_filesystem().get_file(self._full(path), str(partial))
            os.replace(partial, local)
        finally:
            partial.unlink(missing_ok=True)

    def size(self, path: str) -> int | None:
        """The object's size in bytes; None only when the store reports that the object does not exist."""
        entry = self.entry(path)
        return None if entry is None else entry.size

    def entry(self, path: str) -> Entry | None:
        """The object's size and modification time; None only when the store reports that it does not exist."""
        try:
            with store_errors(f"{self.uri}/{path}"):
                if self._is_local():
                    found = files.status(self.uri, check_path(path))
                    return None if stat.S_ISDIR(found.st_mode) else Entry(path, found.st_size, found.st_mtime)
                information = s3_filesystem().info(self._full(path))
        except NotThere:
            return None
        if information["type"] == "directory":
            return None
        return Entry(path, int(information["size"]), _modified(information))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects under the folder `prefix`, sorted by path; none when the folder does not exist.

        Raises StoreDenied or StoreUnavailable when any folder below `prefix` cannot be listed.
        """
        yield from (entry for entry in self._entries(prefix) if entry.upload is None)

    def unfinished(self) -> Iterator[Entry]:
        """Unfinished writes: those in progress in other processes, and those of killed processes."""
        if self._is_local():
            yield from (entry for entry in self._entries("") if entry.upload is not None)
            return
        bucket, _, prefix = self._full("").partition("/")
        start: dict[str, str] = {}
        while True:
            with store_errors(self.uri):
                page = s3_filesystem().call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **start)
            for upload in page.get("Uploads", ()):
                # Swift also returns the upload of an object whose key is the prefix without its trailing slash.
                if upload["Key"].startswith(prefix):
                    path = upload["Key"].removeprefix(prefix)
                    yield Entry(path, 0, float(upload["Initiated"].timestamp()), upload["UploadId"])
            if not page.get("IsTruncated"):
                return
            start = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def discard(self, unfinished: Entry) -> None:
        """Delete the data of an unfinished write. No error if it no longer exists."""
        if self._is_local():
            self.delete(unfinished.path)
            return
        bucket, _, key = self._full(unfinished.path).partition("/")
        with contextlib.suppress(NotThere), store_errors(f"{self.uri}/{unfinished.path}"):
            s3_filesystem().call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=unfinished.upload)

    def delete(self, path: str) -> None:
        """Delete one object. No error if it does not exist."""
        # One request per key: Swift's bulk delete requires a Content-MD5 header that botocore no longer sends.
        with contextlib.suppress(NotThere), store_errors(f"{self.uri}/{path}"):
            if self._is_local():
                files.delete(self.uri, check_path(path))
            else:
                s3_filesystem().rm_file(self._full(path))

    def local_path(self, path: str) -> Path | None:
        """The object's path on the local disk, "" for the lake's folder; None for a remote store.

        For libraries that open a file themselves. Raises StoreError when the path leads through a link, or to one.
        """
        if not self._is_local():
            return None
        with store_errors(f"{self.uri}/{path}"):
            return files.locate(self.uri, check_path(path) if path else "")

    def _check_size(self, path: str, expected: int) -> None:
        found = self.size(path)
        if found != expected:
            raise StoreUnavailable(f"{self.uri}/{path} has {found} bytes after writing {expected}")

    def _entries(self, prefix: str) -> Iterator[Entry]:
        with store_errors(f"{self.uri}/{prefix}"):
            if self._is_local():
                found = sorted(files.files_below(self.uri, check_path(prefix) if prefix else ""))
                entries = [Entry(path, status.st_size, status.st_mtime, _partial(path)) for path, status in found]
            else:
                entries = self._entries_s3(prefix)
        for entry in entries:
            check_path(entry.path)
            yield entry

    def _entries_s3(self, prefix: str) -> builtins.list[Entry]:
        top, root = self._full(prefix), self._full("")
        objects = s3_filesystem().find(top, detail=True)
        # When nothing is stored below `prefix`, s3fs returns the object of exactly that name.
        folder = f"{top.rstrip('/')}/"
        return [
            Entry(path.removeprefix(root), int(objects[path]["size"]), _modified(objects[path]))
            for path in sorted(objects)
            if objects[path]["type"] == "file" and path.startswith(folder)
        ]

    def _read_s3(self, full: str) -> bytes:
        try:
            return bytes(s3_filesystem().cat_file(full, start=0, end=READ_LIMIT + 1))
        except OSError as error:
            if _s3_code(error) in ("InvalidRange", "416"):  # an object without bytes has no range
                return b""
            raise

    def _is_local(self) -> bool:
        return "://" not in self.uri

    def _full(self, path: str) -> str:
        """The path as s3fs takes it; "" for the folder of the lake."""
        full = f"{self.uri.removeprefix('s3://')}/{check_path(path) if path else ''}"
        if "?versionId=" in full:
            raise StoreError(
                f"{self.uri}/{path}: s3fs takes what follows '?versionId=' for a version of another object. "
                "Use a name without it."
            )
        return full


@dataclass(frozen=True, slots=True)
class _Format:
    format: Count


def s3_filesystem() -> Any:
    """The S3 filesystem of this process, configured by the standard AWS_* variables, without a listings cache."""
    try:
        import s3fs
    except ImportError as error:
        raise StoreError("s3:// needs the extra packages: pip install 'millrace[s3]'") from error
    filesystem = s3fs.S3FileSystem(
        use_listings_cache=False,
        # One request per read instead of two; downloads are streams, which resume after a broken connection.
        max_concurrency=1,
        default_fill_cache=False,
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        # "when_required": other S3 stores than Amazon's reject the checksums that botocore now adds by default.
        config_kwargs={
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _ANSWER_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": _TRIES_INSIDE},
        },
    )
    # s3fs retries on top of botocore's retries: with the defaults, 25 attempts before an error is raised.
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
    return float(information["LastModified"].timestamp())


def _partial(path: str) -> str | None:
    """The name of a partial file; None for the path of another file."""
    name = path.rpartition("/")[2]
    return name if name.startswith(files.PARTIAL) else None


_FULL = {errno.ENOSPC, errno.EDQUOT}
_NEVER = {errno.ENAMETOOLONG, errno.ENOSYS, errno.EISDIR, errno.ELOOP, errno.EROFS}


@contextlib.contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Translate filesystem exceptions into the lake's errors."""
    try:
        yield
    except StoreError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThere(f"{what} does not exist") from error
    except PermissionError as error:
        raise StoreDenied(f"{what}: the store refused ({error}). Check the credentials and permissions.") from error
    except (TimeoutError, ConnectionError) as error:
        raise StoreUnavailable(f"{what}: the store did not answer ({str(error) or type(error).__name__})") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"{what}: no space is left. Free some, then run the same command again.") from error
        if error.errno in _NEVER or _s3_code(error) in ("InvalidBucketName", "KeyTooLongError", "NotImplemented"):
            raise StoreError(f"{what}: {str(error).rstrip('.')}. Name another place.") from error
        raise StoreUnavailable(f"{what}: {error}") from error
    except Exception as error:
        # botocore's errors do not derive from OSError, and botocore is not installed without the s3 extra.
        if "ParamValidation" in type(error).__name__ or "ParamValidation" in type(error.__context__).__name__:
            raise StoreError(f"{what} is not a name that S3 allows ({error}). Name another place.") from error
        if type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp"):
            if "Credentials" in type(error).__name__:
                raise StoreDenied(f"{what}: {error}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.") from error
            raise StoreUnavailable(f"{what}: {error}") from error
        raise


def _s3_code(error: OSError) -> str | None:
    """The S3 error code behind an OSError that s3fs raised."""
    response = getattr(error.__cause__, "response", None)
    return None if response is None else response.get("Error", {}).get("Code")
