"""Shingles: the word n-grams whose SHA-1 hashes make MinHash signatures."""

from __future__ import annotations

import numpy as np

from tasks.text.sha1 import sha1_prefixes
from tasks.text.words import join_words


def hash_shingles(text: str, width: int, most: int | None = None) -> tuple[np.ndarray, int]:
    """Compute a 64-bit hash of the first `most` shingles of a text, in text order; and count all shingles.

    A shingle is `width` consecutive words (`tasks.text.words`) joined by one space, in UTF-8. A text with fewer words
    has one shingle, of all its words; a text without words has none. Repeated shingles count each time.

    The hash is the first 8 bytes of the shingle's SHA-1 digest, little-endian (`tasks.text.sha1`): uint64.
    """
    buffer, starts, ends = join_words(text)
    if starts.size <= width:
        return sha1_prefixes(buffer, starts[:1], ends[-1:]), min(starts.size, 1)
    count = int(starts.size) - width + 1
    taken = count if most is None else min(count, most)
    return sha1_prefixes(buffer, starts[:taken], ends[width - 1 : width - 1 + taken]), count
