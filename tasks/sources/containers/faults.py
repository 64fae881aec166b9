"""Why a member of an archive is not read, and the limits on what is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from infra.outcomes import Dropped, Failed


class NotFile(StrEnum):
    """An intact member that is no file."""

    link = "link"
    special_file = "special_file"


class BadMember(StrEnum):
    """The fault of an archive or of one of its members. Further ones are in `tasks.sources.reasons.Broken`."""

    unsafe_path = "unsafe_path"
    path_too_deep = "path_too_deep"
    file_too_large = "file_too_large"
    sparse_file = "sparse_file"
    encrypted = "encrypted"
    unsupported_compression = "unsupported_compression"
    expands_too_much = "expands_too_much"
    too_many_members = "too_many_members"
    truncated = "truncated"
    bad_header = "bad_header"
    bad_checksum = "bad_checksum"
    corrupt_member = "corrupt_member"
    stray_bytes = "stray_bytes"


@dataclass(frozen=True, slots=True)
class ContainedFile:
    """A file: its path in the archive, with `/` between the parts, its bytes, and its place.

    `path` is None for a file that stands alone, unless it is compressed and its gzip header names it. `offset` is where
    the member begins: in a zip, a byte of the stored file; in a tar, a byte of the decompressed archive.
    """

    path: str | None
    data: bytes = field(repr=False)
    offset: int

    def where(self, name: str) -> str:
        """Its place in the input of that name, for messages."""
        return f"{name}, byte {self.offset}" + (f": {self.path}" if self.path is not None else "")


Found = ContainedFile | Dropped | Failed


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest file, and how many bytes an input may become: `free_bytes`, and `ratio` for each stored byte.

    Source code and text shrink to a tenth, and a folder of copies to a hundredth. Deflate can reach 1,032.
    """

    file_bytes: int
    ratio: int = 200
    free_bytes: int = 256 << 20


class TooMuch(Exception):
    """The bytes decompressed so far exceed the limits; `offset` as of `ContainedFile`."""

    def __init__(self, detail: str, offset: int) -> None:
        super().__init__(detail)
        self.offset = offset
