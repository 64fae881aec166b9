"""The files of a local lake: no link below its folder is followed, and what was written survives a power loss.

The folder of the lake itself may be a link, for a lake on another disk. Below it, every folder is opened relative to
the one above it, so that nobody can put a link in its place between a check and its use.

A write goes to a partial file, is synced and renamed, and then its folder is synced. What is written later (a marker,
a manifest) therefore never outlives what it points to. A lock marks the partial file of a living writer; the next
writer in the folder deletes the partial files of killed ones.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from infra.store.errors import Corrupt, StoreError, StoreUnavailable

PARTIAL = ".partial-"
# Crawled text is no concern of the other users of a machine. The umask may take more away.
_FOLDER_MODE = 0o770
_FILE_MODE = 0o660
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not blocking: to open a pipe would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DEEPEST = 32  # folders; a lake of Millrace has 6
# Folders, by device and inode, in which this process has looked for the partial files of killed writers.
_cleared: set[tuple[int, int]] = set()


def read(root: str, path: str, limit: int) -> bytes:
    """The content of a file. Raises Corrupt when it has more than `limit` bytes."""
    with _opened(root, path) as stream:
        if os.fstat(stream.fileno()).st_size > limit:
            raise Corrupt(f"{root}/{path} has more than {limit:,} bytes: Millrace writes no such object. Delete it.")
        return stream.read(limit)


def copy_out(root: str, path: str, local: Path) -> None:
    """Copy a file to the new file `local`."""
    with _opened(root, path) as stream, open(local, "xb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)


def status(root: str, path: str) -> os.stat_result:
    """The status of a file or folder. Raises StoreError for a link, a pipe or a device."""
    *folders, name = path.split("/")
    with _folder(root, folders) as folder:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    _require_plain(found, f"{root}/{path}")
    return found


def locate(root: str, path: str) -> Path:
    """The path of a file, for libraries that open it themselves; it need not exist. Raises as `status` does."""
    if path:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status(root, path)
    return Path(root, path)


@contextlib.contextmanager
def replacement(root: str, path: str) -> Iterator[BinaryIO]:
    """A stream to a partial file, which atomically replaces the file when the block ends without an error."""
    *folders, name = path.split("/")
    try:
        os.makedirs(root, _FOLDER_MODE, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "a file or a broken link is where the lake should be", root) from error
    with _folder(root, folders, make=True) as folder:
        _clear_abandoned(folder)
        partial, descriptor = _new_partial(folder)
        try:
            with open(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            _sync(folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=folder)


def delete(root: str, path: str) -> None:
    """Delete a file, or a link itself."""
    *folders, name = path.split("/")
    with _folder(root, folders) as folder:
        os.unlink(name, dir_fd=folder)


def files_below(root: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """The files below the folder `prefix` with their paths in the lake; none if it does not exist.

    Raises OSError when a folder cannot be read, and StoreError for a link.
    """
    try:
        with _folder(root, prefix.split("/") if prefix else ()) as folder:
            yield from _walk(root, folder, f"{prefix}/" if prefix else "")
    except (FileNotFoundError, NotADirectoryError):
        return


def _walk(root: str, folder: int, above: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as found:
        items = list(found)
    for item in items:
        path = f"{above}{item.name}"
        try:
            status = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # deleted or renamed since scandir
        _require_plain(status, f"{root}/{path}")
        if stat.S_ISREG(status.st_mode):
            yield path, status
            continue
        if path.count("/") >= _DEEPEST:
            raise StoreError(f"{root}/{path}: Millrace nests no folders as deep as this. Delete it.")
        try:
            below = os.open(item.name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreUnavailable(f"{root}/{path} was deleted while it was listed") from error
        try:
            yield from _walk(root, below, f"{path}/")
        finally:
            os.close(below)


@contextlib.contextmanager
def _opened(root: str, path: str) -> Iterator[BinaryIO]:
    *folders, name = path.split("/")
    with _folder(root, folders) as folder:
        try:
            descriptor = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
                _require_plain(os.stat(name, dir_fd=folder, follow_symlinks=False), f"{root}/{path}")
            raise
        with open(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            _require_plain(found, f"{root}/{path}")
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), f"{root}/{path}")
            yield stream


@contextlib.contextmanager
def _folder(root: str, folders: Sequence[str], make: bool = False) -> Iterator[int]:
    """A descriptor of a folder below `root`, whose missing folders are made on request."""
    descriptor = os.open(root, _FOLDER)
    try:
        for number, name in enumerate(folders):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, _FOLDER_MODE, dir_fd=descriptor)
                    _sync(descriptor)
            try:
                below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            except NotADirectoryError:
                path = "/".join((root, *folders[: number + 1]))
                _require_plain(os.stat(name, dir_fd=descriptor, follow_symlinks=False), path)
                raise
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _require_plain(found: os.stat_result, path: str) -> None:
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        return
    if stat.S_ISLNK(found.st_mode):
        raise StoreError(
            f"{path} is a link: no link is followed below the folder of a lake, because it may lead anywhere. Delete "
            "it; to keep a lake on another disk, move the whole lake there."
        )
    raise StoreError(f"{path} is neither a file nor a folder: Millrace writes no such object. Delete it.")


def _new_partial(folder: int) -> tuple[str, int]:
    """A new partial file, with its lock held: its name, and its descriptor."""
    while True:
        name = f"{_own_partials()}{uuid.uuid4().hex}"
        descriptor = os.open(
            name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE, dir_fd=folder
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(name, dir_fd=folder).st_ino == os.fstat(descriptor).st_ino:
                return name, descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # another writer took it for abandoned before it was locked
        except OSError:
            return name, descriptor  # a file system without locks: only a sweep deletes its partial files
        os.close(descriptor)


def _clear_abandoned(folder: int) -> None:
    """Delete the partial files of this machine's killed writers, once per process and folder."""
    found = os.fstat(folder)
    if (found.st_dev, found.st_ino) in _cleared:
        return
    _cleared.add((found.st_dev, found.st_ino))
    with os.scandir(folder) as items:
        names = [item.name for item in items if item.name.startswith(_own_partials())]
    for name in names:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            continue  # finished meanwhile, of another user, or no partial file at all: left to a sweep
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=folder)
        except OSError:
            pass  # its writer lives, or has renamed it
        finally:
            os.close(descriptor)


def _own_partials() -> str:
    """How the names of this machine's partial files begin: locks need not reach other machines."""
    return f"{PARTIAL}{re.sub('[^A-Za-z0-9]', '-', socket.gethostname())[:64]}-"


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that syncs no folders
            raise
