"""7z archives: each method, damage, and headers made to do harm."""

from __future__ import annotations

import bz2
import io
import random

import pytest

from tasks.sources.codecs import StoredFault
from tasks.sources.seven_zip import read_members
from tests.tasks.sources.seven_zip_samples import POSTS, SAMPLES, archive, header, number, packed

REFUSED = {"PPMd": "unsupported_method", "encrypted": "encrypted"}


def read(data: bytes) -> list[tuple[str, bytes]]:
    return [(member.name, b"".join(member.pieces)) for member in read_members(io.BytesIO(data))]


def reason_of(data: bytes) -> str:
    with pytest.raises(StoredFault) as caught:
        read(data)
    return str(caught.value.reason)


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - set(REFUSED)))
def test_each_method_is_read(name: str) -> None:
    assert read(SAMPLES[name]) == [("Users.xml", b"<users />\n"), ("Posts.xml", POSTS)]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_other_methods_are_refused_by_name(name: str) -> None:
    assert reason_of(SAMPLES[name]) == REFUSED[name]


def test_several_streams_of_bzip2_are_one() -> None:
    stored = bz2.compress(POSTS[:50]) + bz2.compress(b"") + bz2.compress(POSTS[50:])
    made = header(["Posts.xml"], [len(POSTS)], coder=b"\x03\x04\x02\x02", stored=len(stored))
    assert read(archive(made, stored)) == [("Posts.xml", POSTS)]


def test_members_that_are_not_read_are_passed() -> None:
    data = packed(a__Posts=b"one", Tags=bytes(300_000), b__Posts=b"three")
    found = [(m.name, b"".join(m.pieces)) for m in read_members(io.BytesIO(data)) if "Posts" in m.name]
    assert found == [("a/Posts.xml", b"one"), ("b/Posts.xml", b"three")]


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - set(REFUSED)))
def test_damage_is_a_fault_wherever_it_is(name: str) -> None:
    data = SAMPLES[name]
    for place in range(32, len(data)):
        broken = data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :]
        try:
            # Bits that nothing depends on, such as those behind the last byte of a stream.
            assert read(broken) == read(data)
        except StoredFault as fault:
            assert fault.reason in ("bad_checksum", "corrupt_member", "bad_header")
    for size in range(6, len(data), 7):
        assert reason_of(data[:size]) in ("truncated", "bad_checksum")


LARGE = 1 << 60
HOSTILE = {
    "a bomb": (header(["Posts.xml"], [2_000 << 20], stored=64), "bomb"),
    "a bomb of many members": (header(["a"] * 9, [LARGE >> 8] * 9, stored=64), "bomb"),
    "members beyond their number": (b"\x01\x04\x06\x00\x01\x09\x01\x00\x07\x0b" + number(LARGE), "bad_header"),
    "streams beyond their number": (b"\x01\x04\x06\x00" + number(LARGE), "bad_header"),
    "files beyond their number": (b"\x01\x05" + number(LARGE), "bad_header"),
    "names that are missing": (b"\x01\x05\x05\x11\x03\x00a\x00\x00", "bad_header"),
    "coders in a circle": (
        b"\x01\x04\x06\x00\x01\x09\x01\x00\x07\x0b\x01\x00\x02\x01\x00\x01\x00\x00\x00\x0c\x01\x01\x00\x00",
        "bad_header",
    ),
    "nothing": (b"\x01", "bad_header"),
    "an unknown part": (b"\x01\x33", "bad_header"),
    "a dictionary of 4 GiB": (
        header(["Posts.xml"], [900 << 20, 200 << 20], coder=b"\x21\x21\x01\x28", stored=64),
        "bomb",
    ),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_headers_are_refused(name: str) -> None:
    made, reason = HOSTILE[name]
    assert reason_of(archive(made, bytes(64))) == reason


def test_a_header_inside_itself_is_refused() -> None:
    inner = b"\x17\x06\x00\x01\x09" + number(64) + b"\x00\x07\x0b\x01\x00\x01\x01\x00\x0c" + number(64) + b"\x00\x00"
    copies = archive(inner, inner + bytes(64 - len(inner)))
    assert reason_of(copies) == "bad_header"


def test_any_bytes_are_read_or_refused() -> None:
    random_bytes = random.Random(7)
    base = header(["a", "Posts.xml"], [5, 9])
    for _ in range(2_000):
        made = bytearray(base)
        for _ in range(random_bytes.randint(1, 4)):
            made[random_bytes.randrange(len(made))] = random_bytes.randrange(256)
        try:
            read(archive(bytes(made), bytes(14)))
        except StoredFault:
            continue
