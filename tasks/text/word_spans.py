"""Where the words of a text are (`tasks.text.words`), with the hashes by which texts are compared."""

from __future__ import annotations

import numpy as np

from infra.compiled import njit
from tasks.text.mixing import mix
from tasks.text.words import word_classes

_UTF_8_WIDTHS = (0x80, 0x800, 0x10000)  # RFC 3629, section 3


def word_spans(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hash of each word (uint64), as `hash_words`, and the UTF-8 byte offsets where it starts and ends (int64).

    The hash is of the case-folded word, the offsets are those in the text itself.
    """
    folded = text.casefold()
    own = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    codes = np.frombuffer(folded.encode("utf-32-le"), np.uint32)
    offsets = np.zeros(own.size + 1, np.int64)
    np.cumsum(1 + sum((own >= first).astype(np.int64) for first in _UTF_8_WIDTHS), out=offsets[1:])
    origin = np.arange(own.size)
    if codes.size != own.size:  # case folding makes some characters two or three: ß is ss
        origin = np.repeat(origin, [len(character.casefold()) for character in text])
    return _word_spans(codes, offsets[origin], offsets[origin + 1], word_classes())


@njit(cache=True)
def _word_spans(
    codes: np.ndarray, first: np.ndarray, behind: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hashes = np.empty(codes.size, np.uint64)
    starts = np.empty(codes.size, np.int64)
    ends = np.empty(codes.size, np.int64)
    words = 0
    inside = False
    state = np.uint64(0)
    for index in range(codes.size):
        code = codes[index]
        kind = classes[code]
        if kind == 3:
            kind = 1 if inside else 0
        if inside and kind != 1:
            hashes[words] = mix(state)
            words += 1
            inside = False
        if kind == 0:
            continue
        if not inside:
            state = np.uint64(0xCBF29CE484222325)
            starts[words] = first[index]
        state = (state ^ np.uint64(code)) * np.uint64(0x100000001B3)
        ends[words] = behind[index]
        if kind == 2:
            hashes[words] = mix(state)
            words += 1
        else:
            inside = True
    if inside:
        hashes[words] = mix(state)
        words += 1
    return hashes[:words].copy(), starts[:words].copy(), ends[:words].copy()
