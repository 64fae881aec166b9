"""Gopher's heuristics: the stage `heuristics`, against the repeated n-grams alone counted in plain Python."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from tasks.heuristics import HeuristicsConfig, measure_heuristics
from tests.bench.inputs import page_texts
from tests.bench.measure import Side, compare
from tests.bench.report import Bar, print_bar, print_comparison, print_head

CONFIG = HeuristicsConfig()
CURATOR = Bar("NeMo Curator's heuristic filters, at best", 150, "documents")
TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)
COLUMNS = [f"top_{n}_gram_character_fraction" for n in TOP] + [
    f"duplicate_{n}_gram_character_fraction" for n in DUPLICATE
]


def run() -> None:
    """Compare, time and print."""
    texts = page_texts()
    ours = Side("millrace, all 21 signals", measure, our_fractions)
    peer = Side("the 9 of n-grams in plain Python", count_plainly, count_plainly)
    print_head("heuristics", "Gopher's quality and repetition signals, one thread", texts, ["numpy", "numba"])
    found = compare(texts, ours, peer)
    print_comparison(texts, ours.name, peer.name, found)
    print_bar(CURATOR, texts.items / found.ours.median)


def measure(texts: list[str]) -> pa.Table:
    """The stage's kernel on one batch."""
    return measure_heuristics(pa.table({"text": pa.array(texts, pa.string())}), CONFIG)


def our_fractions(texts: list[str]) -> list[tuple[float, ...]]:
    """The signals about repeated n-grams, of every text."""
    found = measure(texts)
    return list(zip(*(found[column].to_pylist() for column in COLUMNS), strict=True))


def count_plainly(texts: list[str]) -> list[tuple[float, ...]]:
    """The same signals as one would write them down from the paper (Rae et al. 2021, appendix A.1): with tuples.

    No tool defines them exactly as `tasks.heuristics` does, so this stands in for one, and checks the kernel.
    """
    fractions = []
    for text in texts:
        words = text.split()
        characters = sum(map(len, words))
        covered = [_most_frequent(words, n) for n in TOP] + [_later_copies(words, n) for n in DUPLICATE]
        fractions.append(tuple(round(part / characters, CONFIG.decimals) if characters else 0.0 for part in covered))
    return fractions


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n))))


def _most_frequent(words: list[str], n: int) -> int:
    """Characters of the words that the most frequent n-gram covers; the longest of several, then the first."""
    grams = _grams(words, n)
    counts = Counter(grams)
    if not counts or counts.most_common(1)[0][1] < 2:
        return 0
    best = max(counts, key=lambda gram: (counts[gram], sum(map(len, gram))))
    return _characters(words, [start for start, gram in enumerate(grams) if gram == best], n)


def _later_copies(words: list[str], n: int) -> int:
    """Characters of the words that second and later copies of any n-gram cover."""
    seen: set[tuple[str, ...]] = set()
    starts = []
    for start, gram in enumerate(_grams(words, n)):
        if gram in seen:
            starts.append(start)
        seen.add(gram)
    return _characters(words, starts, n)


def _characters(words: list[str], starts: list[int], n: int) -> int:
    covered = {position for start in starts for position in range(start, start + n)}
    return sum(len(words[position]) for position in covered)
