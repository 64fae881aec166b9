"""Pages beside the project of which something is known, and which of their blocks are main text."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from tasks.html.features import Features, features_of
from tasks.html.scan import END, START, Scan, scan
from tasks.sources.charset import decode_page
from tasks.sources.extraction import ExtractionError, Extractor, extract_page
from tasks.sources.html_tree import parse_html, serialised
from tasks.sources.markup import MAX_ELEMENTS
from tests.bench.gold import annotated
from tests.bench.inputs import CRAWL

SETS = ("html-article-gold", "html-trafilatura-eval", "html-fundus-news", "html-misc", "html-recipes")
# A gold text gives a page this many words of weight; what trafilatura alone says of a page, some tens.
_WORDS_OF_PAGE = 300
_FEWEST_GOLD_WORDS = 50
_FROM_TRAFILATURA = 0.02
_SEGMENT_WANTED, _SEGMENT_UNWANTED = 60, 40
_NGRAM = 4


@dataclass(frozen=True, slots=True)
class LabelledPage:
    """A page's blocks: their features, whether each is main text, and how much each counts."""

    id: str
    site: str
    page: Scan
    features: Features
    labels: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]


def labelled_pages() -> Iterator[LabelledPage]:
    """Every page that has blocks, in the order of the archives."""
    rows = {}
    for name in SETS:
        with gzip.open(CRAWL / "gold" / f"{name}.jsonl.gz") as lines:
            for row in map(json.loads, lines):
                rows.setdefault(row["sha256"], row)
    for id, body, kind, row in annotated("html-*.warc.gz", rows):
        html = decode_page(body, kind).text
        page = scan(serialised(parse_html(html, MAX_ELEMENTS))[0])
        if len(page.blocks):
            labels, weights = labels_of(page, html, row.get("gt") or {})
            yield LabelledPage(id, site(row), page, features_of(page), labels, weights)


def site(row: dict[str, Any]) -> str:
    """The name that a site's addresses share, roughly: pages of one site are never on both sides of a test."""
    host = row.get("domain") or urlsplit(row.get("url") or "").hostname or ""
    parts = host.lower().split(":")[0].split(".")
    short = len(parts) > 2 and len(parts[-2]) <= 3 and len(parts[-1]) == 2  # co.uk
    return parts[-3] if short else parts[-2] if len(parts) > 1 else parts[0]


def labels_of(page: Scan, html: str, truth: dict[str, Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Which blocks are main text, and their weights.

    A gold text decides about the blocks of its page, and annotated segments about those with a segment. About the
    others trafilatura decides, with little weight.
    """
    texts = [bytes(page.text[block[START] : block[END]]).decode() for block in page.blocks]
    texts = [" ".join(text.split()) for text in texts]
    labels = _by_trafilatura(texts, html)
    gold = _gold_text(truth)
    if gold is not None:
        return _by_gold(texts, gold, labels)
    widths = np.array([min(len(text), _WORDS_OF_PAGE) for text in texts], float)
    kept = sum(len(_words(text)) for text, label in zip(texts, labels, strict=True) if label)
    weights = widths * _FROM_TRAFILATURA * _WORDS_OF_PAGE / max(kept, _FEWEST_GOLD_WORDS)
    fields = truth.get("fields") or {}
    recipe = "\n".join([*(fields.get("ingredients") or []), *(fields.get("instructions_list") or [])])
    for index, text in enumerate(texts):
        if any(segment in text or (len(text) > 30 and text in segment) for segment in truth.get("with", ())):
            labels[index], weights[index] = True, _SEGMENT_WANTED
        elif any(segment in text for segment in truth.get("without", ())):
            labels[index], weights[index] = False, _SEGMENT_UNWANTED
        elif len(text) > 8 and text in recipe:
            labels[index] = True
            weights[index] *= 2
    return labels, weights


def _by_trafilatura(texts: Sequence[str], html: str) -> npt.NDArray[np.bool_]:
    try:
        kept = extract_page(html, Extractor.trafilatura).text
    except ExtractionError:
        kept = ""
    whole = " ".join(kept.split())
    lines = {" ".join(line.split()).removeprefix("- ") for line in kept.split("\n")}
    return np.array([text in whole if len(text) > 25 else text in lines for text in texts])


def _by_gold(
    texts: Sequence[str], gold: str, others: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """A block is main text if half of its 4-grams stand in the gold text; a shorter one if it is a line there."""
    words = _words(gold)
    ngrams = set(_ngrams(words))
    lines = {tuple(_words(line)) for line in gold.split("\n")}
    joined = f" {' '.join(words)} "
    labels, weights = np.zeros(len(texts), bool), np.zeros(len(texts))
    for index, text in enumerate(texts):
        own = _words(text)
        weights[index] = len(own)
        if len(own) >= _NGRAM:
            share = np.mean([ngram in ngrams for ngram in _ngrams(own)])
            labels[index] = share >= 0.5
            weights[index] *= 0.5 + abs(share - 0.5)
        elif tuple(own) in lines:
            labels[index] = True
        elif own and f" {' '.join(own)} " in joined:
            labels[index] = others[index]
            weights[index] *= 0.3
    return labels, weights * _WORDS_OF_PAGE / max(len(words), _FEWEST_GOLD_WORDS)


def _gold_text(truth: dict[str, Any]) -> str | None:
    if truth.get("type") in ("body", "body_by_tool"):
        return str(truth["text"])
    lines: list[str] = []
    for version in (truth.get("versions") or {}).values():
        body = version.get("body") or {}
        lines += body.get("summary") or []
        for section in body.get("sections") or []:
            lines += (section.get("headline") or []) + (section.get("paragraphs") or [])
    return "\n".join(lines) or None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _ngrams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + _NGRAM]) for start in range(len(words) - _NGRAM + 1)]
