import hashlib

import hypothesis
import numpy as np
import pytest
from datasketch.hashfunc import sha1_hash32, sha1_hash64
from hypothesis import strategies

from tasks.text.sha1 import sha1_prefixes
from tasks.text.shingles import hash_shingles
from tests.tasks.text.test_words import words_of


def shingles_of(text, width):
    """The definition, word for word."""
    words = words_of(text)
    if not words:
        return []
    return [" ".join(words[i : i + width]).encode() for i in range(max(len(words) - width + 1, 1))]


@hypothesis.settings(deadline=None)
@hypothesis.given(strategies.lists(strategies.binary(max_size=300), min_size=1, max_size=40))
def test_every_lane_gives_the_sha1_of_its_slice(messages):
    buffer = np.frombuffer(b"".join(messages), np.uint8)
    ends = np.cumsum([len(message) for message in messages])
    starts = ends - [len(message) for message in messages]
    assert sha1_prefixes(buffer, starts, ends).tolist() == [sha1_hash64(message) for message in messages]


@pytest.mark.parametrize("length", [0, 1, 3, 4, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 1000, 100_000])
def test_padding_at_the_edges_of_a_block(length):
    message = bytes(i * 7 % 251 for i in range(length))
    found = sha1_prefixes(np.frombuffer(message, np.uint8), np.array([0]), np.array([length]))
    assert int(found[0]).to_bytes(8, "little") == hashlib.sha1(message).digest()[:8]
    assert int(found[0]) & 0xFFFFFFFF == sha1_hash32(message)


@hypothesis.settings(deadline=None)
@hypothesis.given(strategies.text(max_size=200), strategies.integers(1, 8))
@hypothesis.example("", 5)
@hypothesis.example("!!! … —", 5)
@hypothesis.example("one two three", 5)
@hypothesis.example("a", 1)
def test_shingles_are_the_words_that_the_definition_names(text, width):
    expected = [sha1_hash64(shingle) for shingle in shingles_of(text, width)]
    hashes, count = hash_shingles(text, width)
    assert hashes.tolist() == expected and count == len(expected)
    some, count = hash_shingles(text, width, 3)
    assert some.tolist() == expected[:3] and count == len(expected)
