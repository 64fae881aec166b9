"""Gzip members decode as zlib decodes them, damage included, and zlib is asked about damaged members only."""

from __future__ import annotations

import gzip
import io
import random
import zlib

import pytest
from isal import igzip_lib

from tasks.sources.codecs import StoredFault
from tasks.sources.gzip_members import GzipMembers

TEXTS = [b"", b"a", b"The mill stands by the river.\n" * 400, random.Random(1).randbytes(150_000)]
Found = tuple[bytes, StoredFault | None]


def decoded(data: bytes) -> Found:
    """All bytes that the members of a file give, and the damage."""
    pieces = []
    try:
        for _, piece in GzipMembers(io.BytesIO(data)).decode(0):
            pieces.append(piece)
    except StoredFault as fault:
        return b"".join(pieces), fault
    return b"".join(pieces), None


def decoded_by_zlib(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Found:
    """The same with an ISA-L that refuses everything."""

    class Refuses:
        def __init__(self, flag: int) -> None:
            pass

        def decompress(self, data: bytes, most: int) -> bytes:
            raise igzip_lib.IsalError  # type: ignore[misc]

    with monkeypatch.context() as patch:
        patch.setattr(igzip_lib, "IgzipDecompressor", Refuses)
        return decoded(data)


def shown(fault: StoredFault | None) -> object:
    return fault and (fault.reason, fault.offset, fault.detail, fault.reached)


@pytest.mark.parametrize("kind", ["flip", "byte", "cut", "header", "tail", "stray"])
def test_damage_is_that_of_zlib(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(kind)
    faults = 0
    for _ in range(150):
        before = gzip.compress(rng.choice(TEXTS), mtime=0)
        member = bytearray(gzip.compress(rng.choice(TEXTS), rng.choice([0, 1, 6, 9]), mtime=0))
        place = {"header": rng.randrange(3, 10), "tail": len(member) - rng.randrange(1, 9)}.get(
            kind, rng.randrange(len(member))
        )
        if kind == "flip":
            member[place] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del member[place:]
        elif kind == "stray":
            member[place:place] = rng.randbytes(rng.randrange(1, 40))
        else:
            member[place] = rng.randrange(256)
        data = before + bytes(member)
        data += rng.choice([b"", before])
        found, fault = decoded(data)
        expected, expected_fault = decoded_by_zlib(data, monkeypatch)
        assert (found, shown(fault)) == (expected, shown(expected_fault))
        faults += fault is not None
    assert faults > 15


def test_reserved_flags_of_a_header_are_damage() -> None:
    for flag in (0x20, 0x40, 0x80):
        member = bytearray(gzip.compress(TEXTS[2], mtime=0))
        member[3] |= flag
        found, fault = decoded(bytes(member))
        assert found == b"" and fault is not None and "unknown header flags" in fault.detail


def test_intact_members_are_decoded_once_and_not_by_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    given = 0
    fast = igzip_lib.IgzipDecompressor

    class Counting:
        def __init__(self, flag: int) -> None:
            self.inner = fast(flag=flag)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal given
            given += len(data)
            return self.inner.decompress(data, most)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    data = b"".join(gzip.compress(text, mtime=0) for text in TEXTS * 3)
    monkeypatch.setattr(igzip_lib, "IgzipDecompressor", Counting)
    monkeypatch.setattr(zlib, "decompressobj", lambda *_, **__: pytest.fail("zlib was asked"))
    assert decoded(data) == (b"".join(TEXTS * 3), None)
    # What was read behind a member's end is given to the next one.
    assert len(data) <= given < 2 * len(data) + len(TEXTS) * 3 * (64 << 10)


def test_pieces_stay_small_whatever_a_member_holds() -> None:
    bomb = gzip.compress(bytes(40 << 20), mtime=0)
    sizes = [len(piece) for _, piece in GzipMembers(io.BytesIO(bomb)).decode(0)]
    assert sum(sizes) == 40 << 20 and max(sizes) <= 256 << 10
