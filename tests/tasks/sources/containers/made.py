"""Archives that tests make: whole, and broken in one place."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

Files = Mapping[str, bytes]


def tar(files: Files, format: int = tarfile.PAX_FORMAT, members: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """A tar archive with the files, and then with members without data."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return made.getvalue()


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive with the files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path), data, method)
    return made.getvalue()


def zstd(data: bytes) -> bytes:
    """One zstd frame."""
    compressed: Any = pa.compress(data, codec="zstd", asbytes=True)
    return bytes(compressed)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


def member(path: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member without data, of some type."""
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, link
    return info
