"""Compiled SHA-1 of many slices of one buffer at once, for the shingles of MinHash."""

from __future__ import annotations

import numpy as np

from infra.compiled import njit

LANES = 32  # slices hashed in parallel: with 16, loops over lanes are unrolled before they can be vectorised
U32 = np.uint32
U64 = np.uint64


@njit(cache=True, nogil=True)
def sha1_prefixes(buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The first 8 bytes of the SHA-1 digest of every slice, as a little-endian integer.

    `buffer` is uint8; `starts` and `ends` are int64 byte offsets into it, one pair per slice. The result is uint64, one
    value per slice, equal to ``datasketch.hashfunc.sha1_hash64``; its low 32 bits equal ``sha1_hash32``. The algorithm
    is FIPS 180-4, section 6.1.2, with one slice in each of `LANES` lanes.
    """
    count = starts.size
    words = _big_endian_words(buffer)
    # Flat arrays: only with rows of constant length does the compiler see that lanes do not depend on each other.
    schedule = np.empty(80 * LANES, np.uint32)
    state = np.empty(5 * LANES, np.uint32)
    mixed = np.empty(5 * LANES, np.uint32)
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
            state[lane] = 0x67452301
            state[LANES + lane] = 0xEFCDAB89
            state[2 * LANES + lane] = 0x98BADCFE
            state[3 * LANES + lane] = 0x10325476
            state[4 * LANES + lane] = 0xC3D2E1F0
        for block in range(blocks):
            _load(schedule, words, start, length, block)
            _expand(schedule)
            mixed[:] = state
            _rounds(schedule, mixed)
            for lane in range(LANES):
                if block <= _last_block(length[lane]):
                    for variable in range(5):
                        state[variable * LANES + lane] += mixed[variable * LANES + lane]
        for lane in range(filled):
            low = np.uint64(_swap_bytes(state[lane]))
            hashes[group + lane] = low | (np.uint64(_swap_bytes(state[LANES + lane])) << np.uint64(32))
    return hashes


@njit()
def _big_endian_words(buffer: np.ndarray) -> np.ndarray:
    """The four bytes from each offset as one big-endian word; bytes past the end are zero."""
    size = buffer.size
    words = np.empty(size + 1, np.uint32)  # one more, so that an empty slice has a word to begin at
    words[size] = 0
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
def _load(schedule: np.ndarray, words: np.ndarray, start: np.ndarray, length: np.ndarray, block: int) -> None:
    """Load one padded block of 16 words into every lane (FIPS 180-4, section 5.1.1)."""
    schedule[: 16 * LANES] = 0
    for lane in range(LANES):
        left = length[lane] - 64 * block  # bytes of the slice from this block on
        if left < 0:
            if block == _last_block(length[lane]):
                schedule[LANES * 14 + lane] = U32((8 * length[lane]) >> 32)
                schedule[LANES * 15 + lane] = U32((8 * length[lane]) & 0xFFFFFFFF)
            continue
        # Unsigned, as every signed index costs a comparison with zero.
        source, target, whole = U64(start[lane] + 64 * block), U64(lane), U64(min(left // 4, 16))
        for _ in range(whole):
            schedule[target] = words[source]
            source, target = source + U64(4), target + U64(LANES)
        if left < 64:
            taken = left % 4
            last = U32(0)
            if taken > 0:
                unused = U32(32 - 8 * taken)
                last = U32((words[source] >> unused) << unused)
            schedule[target] = U32(last | (U32(0x80000000) >> U32(8 * taken)))
            if block == _last_block(length[lane]):
                schedule[LANES * 14 + lane] = U32((8 * length[lane]) >> 32)
                schedule[LANES * 15 + lane] = U32((8 * length[lane]) & 0xFFFFFFFF)


@njit()
def _expand(schedule: np.ndarray) -> None:
    for row in range(16 * LANES, 80 * LANES, LANES):
        for lane in range(LANES):
            at = row + lane
            schedule[at] = _rotate(
                schedule[at - 3 * LANES]
                ^ schedule[at - 8 * LANES]
                ^ schedule[at - 14 * LANES]
                ^ schedule[at - 16 * LANES],
                1,
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
def _rounds(w: np.ndarray, state: np.ndarray) -> None:
    """Run all 80 rounds, five at a time, so that the five variables rotate without copies."""
    for t in range(0, 80, 5):
        for lane in range(LANES):
            v, x, y = state[lane], state[LANES + lane], state[2 * LANES + lane]
            z, u = state[3 * LANES + lane], state[4 * LANES + lane]
            at = LANES * t + lane
            u = U32(u + _rotate(v, 5) + _mix(t, x, y, z) + w[at])
            x = _rotate(x, 30)
            z = U32(z + _rotate(u, 5) + _mix(t, v, x, y) + w[at + LANES])
            v = _rotate(v, 30)
            y = U32(y + _rotate(z, 5) + _mix(t, u, v, x) + w[at + 2 * LANES])
            u = _rotate(u, 30)
            x = U32(x + _rotate(y, 5) + _mix(t, z, u, v) + w[at + 3 * LANES])
            z = _rotate(z, 30)
            v = U32(v + _rotate(x, 5) + _mix(t, y, z, u) + w[at + 4 * LANES])
            y = _rotate(y, 30)
            state[lane], state[LANES + lane], state[2 * LANES + lane] = v, x, y
            state[3 * LANES + lane], state[4 * LANES + lane] = z, u


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
