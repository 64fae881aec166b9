"""Near-duplicates from texts to what stays, each pair verified; against datatrove and text-dedup, which verify none."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tasks.near_duplicates.config import NearDuplicateConfig
from tests.bench.inputs import page_texts
from tests.bench.measure import DifferentOutputs, Workload
from tests.bench.peers.process import Contest, contest
from tests.bench.peers.tools import DATATROVE, TEXT_DEDUP
from tests.bench.report import print_head
from tests.tasks.near_duplicates.choosing import fates_of

# An edit changes one word in so many: a similarity of some 0.95 over shingles of five words.
EDITED = 200
ROUNDS = 3
CONFIG = NearDuplicateConfig()
_LEAST_WORDS = 200


def run() -> None:
    """Compare, time and print."""
    pages = page_texts()
    texts = [*pages.value, *edited_copies(pages.value)]
    size = sum(len(text.encode()) for text in texts)
    workload = Workload(texts, f"{pages.name}, and edited copies", len(texts), "documents", size, "of text")
    print_head("near_duplicates", "signatures to survivors, one thread", workload, ["numpy", "numba", "pyarrow"])
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "texts.json"
        value = {"texts": texts, "words": CONFIG.shingle_words, "threshold": CONFIG.threshold}
        given.write_text(json.dumps(value))
        for peer, title, side, versions in (
            (DATATROVE, "datatrove", "datatrove_near_duplicates", ("datatrove", "spacy")),
            (TEXT_DEDUP, "text-dedup", "text_dedup_near_duplicates", ("text-dedup", "datasets", "numpy")),
        ):
            one = Contest(
                "near-duplicates end to end, verified",
                peer,
                title,
                side,
                5.0,
                lambda: kept(texts),
                lambda: kept(texts),
                lambda ours, theirs: copies_found(len(pages.value), len(texts), ours, theirs),
                (versions, ["numpy", "numba", "pyarrow"]),
                comparable=False,
            )
            contest(one, workload, given, ROUNDS)


def edited_copies(texts: Sequence[str]) -> list[str]:
    """A copy of every text of 200 words and more, in which one word in `EDITED` is another."""
    rng = random.Random(1)
    copies = []
    for text in texts:
        words = text.split(" ")
        if len(words) >= _LEAST_WORDS:
            copies.append(
                " ".join(word if rng.randrange(EDITED) else f"edited{rng.randrange(10**9)}" for word in words)
            )
    return copies


def kept(texts: Sequence[str]) -> list[int]:
    """The numbers of the documents that stay."""
    return [number for number, fate in enumerate(fates_of(texts, CONFIG)) if fate.stays]


def copies_found(pages: int, total: int, ours: Sequence[int], theirs: Sequence[int]) -> str:
    """How many pairs of a page and its copy each side thinned out. Raises DifferentOutputs if ours are fewer."""
    own, other = total - len(set(ours)), total - len(set(theirs))
    told = f"of {total - pages} pages with an edited copy and some with others, {own} documents go, at the peer {other}"
    if own < 0.95 * other:
        raise DifferentOutputs(f"ours are fewer: {told}")
    return told
