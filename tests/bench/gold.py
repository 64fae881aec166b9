"""Pages whose main text is known, beside the project: gold texts of articles, and segments to keep and to drop."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.sources.archives import ArchiveRecord, read_records
from tasks.sources.http import decode_body, message_of
from tests.bench.inputs import CRAWL

_MOST_BODY = 16 << 20


@dataclass(frozen=True, slots=True)
class GoldPage:
    """The record's own id, the page as it was sent, what is known of its text, and the set it is of."""

    id: str
    body: bytes
    content_type: str | None
    truth: dict[str, Any]
    set: str


@dataclass(frozen=True, slots=True)
class Quality:
    """Mean word F1 of each set of articles, and the share of segments that are rightly kept or dropped."""

    f1: dict[str, float]
    segments: float

    def __str__(self) -> str:
        sets = ", ".join(f"F1 {value:.4f} on {name.split('/')[0]}" for name, value in sorted(self.f1.items()))
        return f"{sets}, segments {self.segments:.4f}"

    def no_worse_than(self, other: Quality) -> bool:
        return self.segments >= other.segments and all(self.f1[name] >= value for name, value in other.f1.items())


def gold_pages() -> list[GoldPage]:
    """All pages of both kinds, in the order of their archives; none without the data beside the project."""
    found = []
    for name in ("html-article-gold", "html-trafilatura-eval"):
        gold = CRAWL / "gold" / f"{name}.jsonl.gz"
        if not gold.is_file():
            return []
        with gzip.open(gold) as lines:
            rows = {row["sha256"]: row for row in map(json.loads, lines)}
        for id, body, kind, row in annotated(f"{name}-*.warc.gz", rows):
            found.append(GoldPage(id, body, kind, row["gt"], row.get("source", name)))
    return found


def annotated(
    archives: str, rows: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[str, bytes, str | None, dict[str, Any]]]:
    """Own id, body, content type and row of each page of the crawl's archives whose body's SHA-256 has a row."""
    for path in sorted(CRAWL.glob(archives)):
        with path.open("rb") as stream:
            for record in read_records(stream, path.name):
                message = message_of(record) if isinstance(record, ArchiveRecord) else None
                body = decode_body(message, _MOST_BODY).data if message else b""
                row = rows.get(hashlib.sha256(body).hexdigest())
                if message and row and isinstance(record, ArchiveRecord):
                    yield own_id(record.id), body, message.headers.get("content-type"), row


def own_id(id: str | None) -> str:
    """The id of a record as it ends the id of its document."""
    return (id or "").strip("<>").removeprefix("urn:uuid:").lower()


def quality(pages: Sequence[GoldPage], texts: Sequence[str]) -> Quality:
    """What extracted texts are worth, as the baselines beside the gold texts are computed."""
    scores: dict[str, list[float]] = {}
    right = segments = 0
    for page, text in zip(pages, texts, strict=True):
        if page.truth["type"] == "segments":
            right += sum(segment in text for segment in page.truth["with"])
            right += sum(segment not in text for segment in page.truth["without"])
            segments += len(page.truth["with"]) + len(page.truth["without"])
        else:
            scores.setdefault(page.set, []).append(word_f1(text, page.truth["text"]))
    return Quality({name: sum(values) / len(values) for name, values in scores.items()}, right / max(segments, 1))


def word_f1(text: str, gold: str) -> float:
    """F1 of word multisets in lower case."""
    found, wanted = (Counter(re.findall(r"\w+", value.lower())) for value in (text, gold))
    return 2 * sum((found & wanted).values()) / max(found.total() + wanted.total(), 1)
