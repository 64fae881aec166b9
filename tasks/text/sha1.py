"""Compiled SHA-1 of many slices of one buffer at once, for the shingles of MinHash."""

from __future__ import annotations

import numpy as np

from infra.compiled import njit

LANES = 16  # slices hashed in parallel: the 32-bit words of one 512-bit register
U32 = np.uint32


@njit(cache=True)
def sha1_prefixes(buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The first 8 bytes of the SHA-1 digest of every slice, as a little-endian integer.

    `buffer` is uint8; `starts` and `ends` are int64 byte offsets into it, one pair per slice. The result is uint64, one
    value per slice, equal to ``datasketch.hashfunc.sha1_hash64``; its low 32 bits equal ``sha1_hash32``. The algorithm
    is FIPS 180-4, section 6.1.2, with one slice in each of `LANES` lanes.
    """
    count = starts.size
    words = _big_endian_words(buffer)
    schedule = np.empty((80, LANES), np.uint32)
    state = np.empty((5, LANES), np.uint32)
    a, b, c, d, e = (
        np.empty(LANES, np.uint32),
        np.empty(LANES, np.uint32),
        np.empty(LANES, np.uint32),
        np.empty(LANES, np.uint32),
        np.empty(LANES, np.uint32),
    )
    start = np.empty(LANES, np.int64)
    length = np.empty(LANES, np.int64)
    hashes = np.empty(count, np.uint64)
    for group in range(0, count, LANES):
        filled = min(LANES, count - group)
        blocks = 1
        for lane in range(LANES):
            # Lanes past the last slice repeat it; their results are not read.
            slice_number = group + min(lane, filled - 1)
            start[lane] = starts[slice_number]
            length[lane] = ends[slice_number] - starts[slice_number]
            blocks = max(blocks, _last_block(length[lane]) + 1)
            state[0, lane] = 0x67452301
            state[1, lane] = 0xEFCDAB89
            state[2, lane] = 0x98BADCFE
            state[3, lane] = 0x10325476
            state[4, lane] = 0xC3D2E1F0
        for block in range(blocks):
            for lane in range(LANES):
                _load(schedule, lane, words, start[lane], length[lane], block)
                a[lane] = state[0, lane]
                b[lane] = state[1, lane]
                c[lane] = state[2, lane]
                d[lane] = state[3, lane]
                e[lane] = state[4, lane]
            _expand(schedule)
            _rounds(schedule, a, b, c, d, e)
            for lane in range(LANES):
                if block <= _last_block(length[lane]):
                    state[0, lane] += a[lane]
                    state[1, lane] += b[lane]
                    state[2, lane] += c[lane]
                    state[3, lane] += d[lane]
                    state[4, lane] += e[lane]
        for lane in range(filled):
            low = np.uint64(_swap_bytes(state[0, lane]))
            hashes[group + lane] = low | (np.uint64(_swap_bytes(state[1, lane])) << np.uint64(32))
    return hashes


@njit()
def _big_endian_words(buffer: np.ndarray) -> np.ndarray:
    """The four bytes from each offset as one big-endian word; bytes past the end are zero."""
    words = np.empty(buffer.size, np.uint32)
    size = buffer.size
    for i in range(size - 3):
        words[i] = U32(
            (U32(buffer[i]) << U32(24))
            | (U32(buffer[i + 1]) << U32(16))
            | (U32(buffer[i + 2]) << U32(8))
            | U32(buffer[i + 3])
        )
    for i in range(max(size - 3, 0), size):
        word = U32(0)
        for offset in range(size - i):
            word = U32(word | U32(U32(buffer[i + offset]) << U32(24 - 8 * offset)))
        words[i] = word
    return words


@njit()
def _last_block(length: int) -> int:
    # The byte 0x80 and the length in bits (8 bytes) follow the message.
    return (length + 8) // 64


@njit()
def _load(schedule: np.ndarray, lane: int, words: np.ndarray, start: int, length: int, block: int) -> None:
    """Load one padded block of 16 words into a lane (FIPS 180-4, section 5.1.1)."""
    base = 64 * block
    whole = min(max(length - base, 0) // 4, 16)
    for word in range(whole):
        schedule[word, lane] = words[start + base + 4 * word]
    for word in range(whole, 16):
        schedule[word, lane] = 0
    if whole < 16 and length >= base:
        rest = (length - base) % 4
        last = U32(0)
        if rest > 0:
            unused = U32(32 - 8 * rest)
            last = U32((words[start + base + 4 * whole] >> unused) << unused)
        schedule[whole, lane] = U32(last | U32(U32(0x80) << U32(24 - 8 * rest)))
    if block == _last_block(length):
        schedule[14, lane] = U32((8 * length) >> 32)
        schedule[15, lane] = U32((8 * length) & 0xFFFFFFFF)


@njit()
def _expand(schedule: np.ndarray) -> None:
    for t in range(16, 80):
        for lane in range(LANES):
            schedule[t, lane] = _rotate(
                schedule[t - 3, lane] ^ schedule[t - 8, lane] ^ schedule[t - 14, lane] ^ schedule[t - 16, lane], 1
            )


@njit()
def _rotate(word: np.uint32, bits: int) -> np.uint32:
    return U32((word << U32(bits)) | (word >> U32(32 - bits)))


@njit()
def _swap_bytes(word: np.uint32) -> np.uint32:
    return U32(
        (word >> U32(24)) | ((word >> U32(8)) & U32(0xFF00)) | ((word << U32(8)) & U32(0xFF0000)) | U32(word << U32(24))
    )


# One explicit kernel instead of a factory that returns one kernel per phase: numba's disk cache numbers closures of
# the same name anew in each process, and may load the wrong one.
@njit()
def _rounds(w: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, e: np.ndarray) -> None:
    """Run all 80 rounds, five at a time, so that the five variables rotate without copies."""
    for t in range(0, 80, 5):
        for lane in range(LANES):
            v, x, y, z, u = a[lane], b[lane], c[lane], d[lane], e[lane]
            u = U32(u + _rotate(v, 5) + _mix(t, x, y, z) + w[t, lane])
            x = _rotate(x, 30)
            z = U32(z + _rotate(u, 5) + _mix(t, v, x, y) + w[t + 1, lane])
            v = _rotate(v, 30)
            y = U32(y + _rotate(z, 5) + _mix(t, u, v, x) + w[t + 2, lane])
            u = _rotate(u, 30)
            x = U32(x + _rotate(y, 5) + _mix(t, z, u, v) + w[t + 3, lane])
            z = _rotate(z, 30)
            v = U32(v + _rotate(x, 5) + _mix(t, y, z, u) + w[t + 4, lane])
            y = _rotate(y, 30)
            a[lane], b[lane], c[lane], d[lane], e[lane] = v, x, y, z, u


@njit()
def _mix(t: int, x: np.uint32, y: np.uint32, z: np.uint32) -> np.uint32:
    """The function of round t plus its constant (FIPS 180-4, sections 4.1.1 and 4.2.1)."""
    if t < 20:
        return U32((z ^ (x & (y ^ z))) + U32(0x5A827999))
    if t < 40:
        return U32((x ^ y ^ z) + U32(0x6ED9EBA1))
    if t < 60:
        return U32(((x & y) | (z & (x | y))) + U32(0x8F1BBCDC))
    return U32((x ^ y ^ z) + U32(0xCA62C1D6))
