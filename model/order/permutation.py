"""Permutations that are computed, not stored: the image of a number, and the inverse."""

from __future__ import annotations

import hashlib

ROUNDS = 6


def permuted(index: int, size: int, key: bytes) -> int:
    """The image of `index` under a permutation of 0 … size - 1, selected by `key`.

    A Feistel network (Luby and Rackoff 1988) over the next even number of bits, repeated until the result is below
    `size` (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 4); at most four times on average.
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
    """The inverse of `permuted`: the number whose image is `image`."""
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
