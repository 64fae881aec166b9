"""MinHash signatures: the stage `signatures` and a loop over datasketch's own MinHash."""

from __future__ import annotations

import functools
import re

import numpy as np
import pyarrow as pa
from datasketch import MinHash

from tasks.signatures import SignatureConfig, signatures, unpack_signatures
from tasks.text.words import word_classes
from tests.bench.inputs import page_texts
from tests.bench.measure import Side, compare
from tests.bench.report import Bar, print_bar, print_comparison, print_head
from tests.bench.signatures_peers import compare_with_peers

CONFIG = SignatureConfig()
_FIRST_UNSPACED = "\u0e00"
DATATROVE = Bar("datatrove's MinHash signatures", 0.8, "MB")


def run() -> None:
    """Compare, time and print."""
    texts = page_texts()
    ours = Side("millrace", sign, our_signatures)
    peer = Side("datasketch update_batch", sign_with_datasketch, datasketch_signatures)
    about = f"{CONFIG.permutations} permutations over shingles of {CONFIG.shingle_words} words, one thread"
    print_head("signatures", about, texts, ["datasketch", "numpy", "numba"])
    found = compare(texts, ours, peer)
    print_comparison(texts, ours.name, peer.name, found)
    print_bar(DATATROVE, texts.bytes / found.ours.median / 1e6)
    compare_with_peers(texts, sign, our_signatures)


def sign(texts: list[str]) -> pa.Table:
    """The stage's kernel on one batch."""
    return signatures(pa.table({"id": [str(row) for row in range(len(texts))], "text": texts}), CONFIG)


def our_signatures(texts: list[str]) -> list[tuple[int, ...]]:
    """The hash values of every text that has words."""
    _, values = unpack_signatures(sign(texts)["signature"], CONFIG.permutations)
    return [tuple(value) for value in values.tolist()]


def sign_with_datasketch(texts: list[str]) -> list[np.ndarray]:
    """One MinHash for each text that has words, updated with all its shingles at once."""
    width = CONFIG.shingle_words
    signed = []
    for text in texts:
        words = words_of(text)
        if words:
            minhash = MinHash(num_perm=CONFIG.permutations, seed=CONFIG.seed)
            shingles = (words[start : start + width] for start in range(max(len(words) - width + 1, 1)))
            minhash.update_batch([" ".join(shingle).encode() for shingle in shingles])
            signed.append(minhash.hashvalues)
    return signed


def words_of(text: str) -> list[str]:
    """The words of a text: each character of a script without spaces is one (`tasks.text.words`)."""
    words = []
    for run in _runs().findall(text.casefold()):
        words += [run] if max(run) < _FIRST_UNSPACED else _unspaced().findall(run)
    return words


@functools.cache
def _runs() -> re.Pattern[str]:
    """Word characters: those of `\\w` and marks, such as the ring of an a that is written as two characters."""
    marks = "".join(char for char in map(chr, np.flatnonzero(word_classes())) if not re.match(r"\w", char))
    return re.compile(rf"\w[\w{re.escape(marks)}]*")


@functools.cache
def _unspaced() -> re.Pattern[str]:
    alone = "".join(map(chr, np.flatnonzero(word_classes() == 2)))
    return re.compile(f"[{alone}]|[^{alone}]+")


def datasketch_signatures(texts: list[str]) -> list[tuple[int, ...]]:
    """The same hash values from datasketch."""
    return [tuple(value.tolist()) for value in sign_with_datasketch(texts)]
