"""The files of one input: those of a tar or zip archive, or the one file that the input is.

Compression and format are detected from the bytes, not from the name. Archives inside archives are files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from infra.outcomes import Failed
from tasks.sources.codecs import StoredFault
from tasks.sources.containers.faults import BadMember, ContainedFile, Found, Limits, TooMuch
from tasks.sources.containers.inflating import Inflated
from tasks.sources.containers.paths import BadPath, checked_path
from tasks.sources.containers.tar import BLOCK, is_tar, read_tar
from tasks.sources.containers.zips import MAGICS, read_zip

# RFC 1952 section 2.3: the flags say that only the file name follows the fixed part.
_NAMED_GZIP = re.compile(rb"\x1f\x8b\x08\x08.{6}([^\0]{1,255})\0", re.DOTALL)


def read_files(
    stream: BinaryIO, name: str, limits: Limits, unwanted: Callable[[str], str | None] = lambda path: None
) -> Iterator[Found]:
    """Yield the files of an input in stored order, and an outcome for everything that is not read.

    `unwanted` gives the reason for which the file at a path is dropped unread, or None. Files are held one at a time.
    `name` appears in messages only.
    """
    stream.seek(0)
    head = stream.read(512)
    try:
        if head.startswith(MAGICS):
            yield from read_zip(stream, name, limits, unwanted)
            return
        source = Inflated(stream, limits)
        if is_tar(source.peek(BLOCK)):
            yield from read_tar(source, name, limits, unwanted)
        else:
            yield from _alone(source, stream, name, _name_in(head), limits)
    except StoredFault as fault:
        yield Failed(fault.reason, 0, f"{name}: {fault.detail}", fault.offset)
    except TooMuch as error:
        detail = f"{name}: {error}, more than {limits.ratio} times as many; the rest is not read"
        yield Failed(BadMember.expands_too_much, 0, detail, error.offset)


def _alone(source: Inflated, stream: BinaryIO, name: str, path: str | None, limits: Limits) -> Iterator[Found]:
    data = source.read(limits.file_bytes + 1)
    if len(data) > limits.file_bytes:
        detail = f"{name}: the file has more than {limits.file_bytes} bytes"
        yield Failed(BadMember.file_too_large, max(len(data), stream.seek(0, 2)), detail, 0)
    else:
        yield ContainedFile(path, data, 0)


def _name_in(head: bytes) -> str | None:
    found = _NAMED_GZIP.match(head)
    try:
        return checked_path(found[1].decode("latin-1")) if found else None
    except BadPath:
        return None
