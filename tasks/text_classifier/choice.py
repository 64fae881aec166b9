"""Chooses what a text classifier is trained on and measured with: no page twice, no site in both, no length that tells.

The two classes are as large, and their documents as long: both are ordered by their words, and the documents of a pair
are cut to nine tenths of the shorter one. So neither the number of words nor the end of a page tells the class.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tasks.text_classifier.candidates import hash_of
from tasks.text_classifier.config import NEGATIVE, POSITIVE, TextClassifierConfig

TRAINED, HELD_OUT = "trained", "held_out"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document, whose text stands in the spool from `start` to `end`."""

    rank: int
    site: str
    words: int
    digest: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Line:
    """A document that was chosen, of which the first `words` count. `length` is that of the whole document."""

    label: str
    candidate: Candidate
    words: int

    @property
    def length(self) -> int:
        return self.candidate.words


@dataclass
class Spool:
    """The texts of candidates in a file, and the candidates in memory."""

    path: Path
    candidates: dict[str, list[Candidate]] = field(default_factory=lambda: {POSITIVE: [], NEGATIVE: []})

    def __enter__(self) -> Spool:
        self._file: BinaryIO = self.path.open("w+b")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink()

    def add(self, label: str, rank: int, site: str, words: int, text: str) -> None:
        """Add a candidate, behind all others."""
        start, stored = self._file.tell(), text.encode()
        self._file.write(stored)
        digest = hashlib.blake2b(stored, digest_size=16).digest()
        self.candidates[label].append(Candidate(rank, site, words, digest, start, start + len(stored)))

    def text(self, line: Line) -> str:
        """The words of a line that count."""
        self._file.seek(line.candidate.start)
        stored = self._file.read(line.candidate.end - line.candidate.start).decode()
        return " ".join(stored.split(" ", line.words)[: line.words])


def choose(
    candidates: dict[str, list[Candidate]], config: TextClassifierConfig
) -> tuple[dict[str, list[Line]], dict[str, dict[str, int]]]:
    """The lines that are trained on and those that are held out, in random order; and counts by class."""
    counts = {POSITIVE: Counter[str](), NEGATIVE: Counter[str]()}
    positive = {one.digest for one in candidates[POSITIVE]}
    chosen: dict[str, list[Line]] = {}
    parts: dict[str, dict[str, list[Candidate]]] = {TRAINED: {}, HELD_OUT: {}}
    for label in (POSITIVE, NEGATIVE):
        taken = positive if label == NEGATIVE else set[bytes]()
        different = list(_different(candidates[label], taken, config.most_per_site, counts[label]))
        for part in parts:
            held_out = part == HELD_OUT
            parts[part][label] = [one for one in different if _is_held_out(one.site, config) == held_out]
    for part, classes in parts.items():
        size = min(config.most_documents, *(len(ones) for ones in classes.values()))
        for label, ones in classes.items():
            counts[label][part] = size
            counts[label]["surplus"] += len(ones) - size
        lines = _as_long(classes[POSITIVE][:size], classes[NEGATIVE][:size])
        # Not by rank: of a class with more documents, those with the lowest ranks were chosen.
        order = {line: hash_of(config.seed, "order", str(line.candidate.rank), line.label) for line in lines}
        chosen[part] = sorted(lines, key=order.__getitem__)
    return chosen, {label: dict(sorted(found.items())) for label, found in counts.items()}


def _different(
    candidates: Iterable[Candidate], taken: set[bytes], most_per_site: int, counts: Counter[str]
) -> Iterable[Candidate]:
    seen, sites = set[bytes](), Counter[str]()
    for one in sorted(candidates, key=lambda one: one.rank):
        if one.digest in seen:
            counts["duplicate"] += 1
        elif one.digest in taken:
            counts["also_positive"] += 1
        elif sites[one.site] >= most_per_site:
            counts["same_site"] += 1
        else:
            seen.add(one.digest)
            sites[one.site] += 1
            yield one


def _is_held_out(site: str, config: TextClassifierConfig) -> bool:
    return hash_of(config.seed, "site", site) % config.held_out_every == 0


def _as_long(positive: list[Candidate], negative: list[Candidate]) -> list[Line]:
    """The lines of both classes, cut in pairs."""

    def order(one: Candidate) -> tuple[int, int]:
        return one.words, one.rank

    lines = []
    for one, other in zip(sorted(positive, key=order), sorted(negative, key=order), strict=True):
        shorter = min(one.words, other.words)
        words = shorter - shorter // 10
        lines += [Line(POSITIVE, one, words), Line(NEGATIVE, other, words)]
    return lines
