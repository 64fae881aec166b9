"""Permutations that are computed and not stored: where one sends a number, and what it sends there."""

from __future__ import annotations

import hashlib

ROUNDS = 6


def permuted(index: int, size: int, key: bytes) -> int:
    """Where a permutation of 0 … size - 1, chosen by `key`, sends `index`.

    A Feistel network (Luby and Rackoff 1988) over the next even number of bits, walked until it falls inside the size
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 4); at most four tries on average.
    """
    half, mask = _halves(size)
    while True:
        left, right = index >> half, index & mask
        for number in range(ROUNDS):
            left, right = right, left ^ (_round(right, number, key) & mask)
        index = left << half | right
        if index < size:
            return index


def original(image: int, size: int, key: bytes) -> int:
    """The number that `permuted` sends to `image`: the same walk backwards."""
    half, mask = _halves(size)
    while True:
        left, right = image >> half, image & mask
        for number in reversed(range(ROUNDS)):
            left, right = right ^ (_round(left, number, key) & mask), left
        image = left << half | right
        if image < size:
            return image


def _halves(size: int) -> tuple[int, int]:
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    return half, (1 << half) - 1


def _round(value: int, number: int, key: bytes) -> int:
    text = number.to_bytes(1, "little") + value.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "little")
