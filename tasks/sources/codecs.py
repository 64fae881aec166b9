"""The compressions of an archive, and the damage that its stored bytes can have."""

from __future__ import annotations

import re
from enum import StrEnum

from tasks.sources.reasons import Broken


class Codec(StrEnum):
    """The compression of an archive, detected from its first bytes."""

    none = "none"
    gzip = "gzip"
    zstd = "zstd"
    lz4 = "lz4"


class StoredFault(Exception):
    """The stored bytes cannot be decompressed from the member at `offset` on; decoding it `reached` a later byte."""

    def __init__(self, reason: Broken, offset: int, detail: str, reached: int | None = None) -> None:
        super().__init__(f"{reason} at byte {offset}: {detail}")
        self.reason = reason
        self.offset = offset
        self.detail = detail
        self.reached = offset if reached is None else reached


# gzip: RFC 1952 section 2.3.1 with its only method; zstd: RFC 8878 section 3.1.1; LZ4: frame format 1.6.
MAGIC = {Codec.gzip: b"\x1f\x8b\x08", Codec.zstd: b"\x28\xb5\x2f\xfd", Codec.lz4: b"\x04\x22\x4d\x18"}
# RFC 8878 section 3.1.2; the zstd and the LZ4 format share these frames.
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


def detect_codec(head: bytes) -> Codec:
    """Detect the codec from the magic bytes in `head` (at least 4 bytes, unless the file is shorter)."""
    if head.startswith(MAGIC[Codec.gzip]):
        return Codec.gzip
    if head.startswith(MAGIC[Codec.zstd]) or SKIPPABLE.match(head):
        return Codec.zstd
    if head.startswith(MAGIC[Codec.lz4]):
        return Codec.lz4
    return Codec.none


def no_member(head: bytes, codec: Codec, offset: int) -> StoredFault:
    """The fault of bytes that start no member where the last one ends."""
    if MAGIC[codec].startswith(head):
        detail = f"the file ends inside the first bytes of a {codec} member"
        return StoredFault(Broken.truncated, offset, detail, offset + len(head))
    return StoredFault(Broken.stray_bytes, offset, f"no {codec} member starts where the last one ends")
