"""MinHash signatures against datatrove, rensa and Daft, whose permutations differ: compared by their errors."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tasks.text.shingles import hash_shingles
from tests.bench.measure import DifferentOutputs, Workload
from tests.bench.peers.process import Contest, contest
from tests.bench.peers.tools import DAFT, DATATROVE, RENSA

WIDTH, PERMUTATIONS = 5, 128
PEERS = (
    ("datatrove", DATATROVE, "datatrove_signatures", 40.0, ("datatrove", "spacy", "numpy")),
    ("rensa", RENSA, "rensa_signatures", 1.1, ("rensa",)),
    ("Daft", DAFT, "daft_signatures", 1.1, ("daft",)),
)
# An edit changes a word in so many: similarities from 0.1 to 0.9.
EDITED = (5, 10, 20, 40, 80)
# How much the error of a few hundred estimates may lie above its expectation.
_SLACK = 1.25
Pair = tuple[str, str]


def compare_with_peers(
    texts: Workload[list[str]],
    sign: Callable[[list[str]], object],
    signed: Callable[[list[str]], Sequence[Sequence[int]]],
) -> None:
    """A row for each peer; `sign` is timed, and `signed` gives the values of every text."""
    pairs = edited_pairs(texts.value)
    exact = [jaccard(*pair) for pair in pairs]
    flat = [text for pair in pairs for text in pair]

    def outcome() -> list[tuple[Sequence[int], Sequence[int]]]:
        values = signed(flat)
        return list(zip(values[::2], values[1::2]))

    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "texts.json"
        given.write_text(json.dumps({"texts": texts.value, "pairs": pairs}))
        for title, peer, side, floor, reported in PEERS:
            one = Contest(
                "MinHash signatures",
                peer,
                title,
                side,
                floor,
                lambda: sign(texts.value),
                outcome,
                lambda ours, theirs: errors(exact, ours, theirs),
                (reported, ["numpy", "numba"]),
            )
            contest(one, texts, given)


def edited_pairs(texts: Sequence[str]) -> list[Pair]:
    """Texts of 100 words and more, without punctuation, and copies in which one word in so many is another."""
    rng = random.Random(1)
    pairs = []
    long = [words for text in texts if len(words := _plain(text)) >= 100]
    for number, words in enumerate(long):
        every = EDITED[number % len(EDITED)]
        copy = [word if rng.randrange(every) else f"edited{rng.randrange(10**9)}" for word in words]
        pairs.append((" ".join(words), " ".join(copy)))
    return pairs


def jaccard(left: str, right: str) -> float:
    """The exact index over the shingles."""
    one, other = (np.unique(hash_shingles(text, WIDTH)[0]) for text in (left, right))
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def errors(
    exact: Sequence[float],
    ours: Sequence[tuple[Sequence[int], Sequence[int]]],
    theirs: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> str:
    """Both sides' error of the estimate. Raises DifferentOutputs if ours is above what 128 permutations give."""
    own, other = _error(exact, ours), _error(exact, theirs)
    expected = math.sqrt(sum(value * (1 - value) for value in exact) / len(exact) / PERMUTATIONS)
    told = f"error of the estimate {own:.4f}, the peer's {other:.4f}, expected {expected:.4f}, {len(exact)} pairs"
    if own > _SLACK * expected or len(theirs) != len(exact):
        raise DifferentOutputs(told)
    return told


def _error(exact: Sequence[float], signed: Sequence[tuple[Sequence[int], Sequence[int]]]) -> float:
    """Root of the mean square of estimate - exact."""
    estimates = [float(np.mean(np.equal(left, right))) for left, right in signed]
    return math.sqrt(sum((one - true) ** 2 for one, true in zip(estimates, exact, strict=True)) / len(exact))


def _plain(text: str) -> list[str]:
    # Letters only: sides differ in what they do to digits and punctuation, which is not compared here.
    return ["".join(filter(str.isalpha, word)) or "word" for word in text.lower().split()]
