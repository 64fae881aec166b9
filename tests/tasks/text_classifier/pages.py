"""Made pages of two kinds, as the stage reads them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pyarrow as pa

CITED, CRAWL = "cited", "crawl"
Page = tuple[str, str, str | None, str]  # id, source, URL, text


def words(rng: random.Random, kind: str, count: int) -> str:
    """`count` words, of which those of the two kinds share half."""
    first = 0 if kind == CITED else 500
    return " ".join(f"w{rng.randrange(first, first + 1000)}" for _ in range(count))


def pages(number: int = 200, sites: int = 40, seed: int = 1) -> list[Page]:
    """`number` pages of each kind, of 50 to 150 words."""
    rng = random.Random(seed)
    return [
        (f"{kind}/{n}", kind, f"https://www.{kind}{n % sites}.org/{n}", words(rng, kind, rng.randrange(50, 150)))
        for kind in (CITED, CRAWL)
        for n in range(number)
    ]


def tables(found: Sequence[Page], size: int = 90, languages: Sequence[str | None] | None = None) -> Iterator[pa.Table]:
    """Tables of at most `size` pages, with the columns that the stage reads."""
    for start in range(0, len(found), size):
        columns = dict(
            zip(("id", "source", "url", "text"), zip(*found[start : start + size], strict=True), strict=True)
        )
        if languages is not None:
            columns["language.label"] = tuple(languages[start : start + size])
        yield pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
