"""Heuristics: the stage `heuristics`, against the repeated n-grams alone counted in plain Python."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from tasks.c4 import C4Config, apply_c4
from tasks.heuristics import GOPHER_RULES, HeuristicsConfig, measure_heuristics
from tasks.text.segments import segment
from tests.bench.inputs import page_texts
from tests.bench.measure import Side, Workload, compare
from tests.bench.peers.process import Contest, contest
from tests.bench.peers.tools import DATATROVE
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
    ours = Side("millrace, all 36 signals", measure, our_fractions)
    peer = Side("the 9 of n-grams in plain Python", count_plainly, count_plainly)
    print_head("heuristics", "all signals of the stage, one thread", texts, ["numpy", "numba", "icu4py"])
    found = compare(texts, ours, peer)
    print_comparison(texts, ours.name, peer.name, found)
    print_bar(CURATOR, texts.items / found.ours.median)
    compare_with_datatrove(texts)


def compare_with_datatrove(texts: Workload[list[str]]) -> None:
    """A row against its four filters, which give verdicts: values cannot be compared, but Gopher's verdicts can."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "texts.json"
        given.write_text(json.dumps({"texts": texts.value}))
        one = Contest(
            "all heuristic signals and C4's rules",
            DATATROVE,
            "datatrove's four filters",
            "datatrove_filters",
            30.0,
            lambda: (measure(texts.value), clean(texts.value)),
            lambda: verdicts(texts.value),
            same_verdicts,
            (("datatrove", "spacy"), ["numpy", "numba", "icu4py"]),
            comparable=False,
        )
        contest(one, texts, given)


def verdicts(texts: list[str]) -> list[bool]:
    """Whether every signal of every text is within Gopher's limits."""
    kept = []
    for row in measure(texts).to_pylist():
        limits = [(row[signal], *bounds) for signal, bounds in GOPHER_RULES.items()]
        kept.append(
            all((least is None or least <= found) and (most is None or found <= most) for found, least, most in limits)
        )
    return kept


def same_verdicts(ours: Sequence[bool], theirs: Sequence[bool]) -> str:
    """How many verdicts agree, in words; words are other words there."""
    same = sum(own == other for own, other in zip(ours, theirs, strict=True))
    return f"values cannot be compared with verdicts; Gopher's verdict is the same for {same} of {len(ours)}"


def measure(texts: list[str]) -> pa.Table:
    """The stage's kernel on one batch."""
    return measure_heuristics(pa.table({"text": pa.array(texts, pa.string())}), CONFIG)


def clean(texts: list[str]) -> pa.Table:
    """C4's rules on one batch, by the kernel of their stage: one of the four filters."""
    return apply_c4(pa.table({"text": pa.array(texts, pa.string())}), C4Config())


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
        found = segment(text)
        words = [text[start:end] for start, end in zip(found.starts.tolist(), found.ends.tolist())]
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
