"""Extraction of the main text of pages, against trafilatura without its fallbacks: both speed and quality."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from resiliparse.parse.html import HTMLTree

from tasks.html.choice import main_text
from tasks.html.scan import scan
from tasks.sources.charset import decode_page
from tasks.sources.extraction import ExtractionError, Extractor, extract_page
from tasks.sources.html_tree import serialised
from tasks.sources.markup import MAX_ELEMENTS, check_markup
from tests.bench.gold import GoldPage, Quality, gold_pages, quality
from tests.bench.measure import DifferentOutputs, Workload
from tests.bench.peers.process import Contest, contest
from tests.bench.peers.tools import TRAFILATURA
from tests.bench.records import RECORDER, read_records
from tests.bench.report import print_head

SAMPLE = 8
ROUNDS = 3


def run() -> None:
    """Compare, time and print; without gold pages, which lie beside the project, there is nothing to compare."""
    gold = gold_pages()
    pages = gold[::SAMPLE]
    size = sum(len(page.body) for page in pages)
    workload = Workload(pages, f"every {SAMPLE}th page with a gold text", len(pages), "pages", size, "of HTML")
    about = "bytes of pages to their main text, one thread; quality is of all pages with a gold text"
    print_head("extraction", about, workload, ["Resiliparse", "numba"])
    if not gold:
        print("  MISSING, no pages with gold texts lie beside the project")
        return
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "pages.json"
        encoded = [base64.b64encode(page.body).decode() for page in gold]
        given.write_text(json.dumps({"gold": encoded, "pages": encoded[::SAMPLE]}))
        one = Contest(
            "extraction",
            TRAFILATURA,
            "trafilatura, fast",
            "trafilatura_fast",
            4.0,
            lambda: extracted(pages),
            lambda: extracted(gold),
            lambda ours, theirs: qualities(gold, ours, theirs),
            (("trafilatura", "lxml"), ["Resiliparse", "numba"]),
        )
        contest(one, workload, given, ROUNDS)
    RECORDER.set(milliseconds_a_page=apart(pages))


def apart(pages: Sequence[GoldPage]) -> dict[str, float]:
    """CPU milliseconds a page of each part of our side."""

    def timed(name: str, run: Callable[[Any], Any], values: list[Any]) -> list[Any]:
        started = time.process_time()
        results = [run(value) for value in values]
        found[name] = (time.process_time() - started) / len(values) * 1000
        return results

    found: dict[str, float] = {}
    decoded = timed("decoding", lambda page: decode_page(page.body, page.content_type), list(pages))
    timed("limits on markup", lambda page: check_markup(page.utf_8 or page.text.encode(), MAX_ELEMENTS), decoded)
    trees = timed("parsing", lambda page: HTMLTree.parse(page.text), decoded)
    sources = timed("serialising", serialised, trees)
    scans = timed("reading blocks", scan, sources)
    timed("features, trees and writing", main_text, scans)
    return found


def extracted(pages: Sequence[GoldPage]) -> list[str]:
    """The texts of pages as the source extracts them."""
    texts = []
    for page in pages:
        try:
            decoded = decode_page(page.body, page.content_type)
            texts.append(extract_page(decoded.text, Extractor.millrace, utf_8=decoded.utf_8).text)
        except ExtractionError:
            texts.append("")
    return texts


def unseen() -> Quality:
    """Our quality on sites that the trees did not learn from, as `python -m tests.bench.main_text` recorded it."""
    found = read_records()["main_text"].values
    return Quality(dict(zip(found["sets"], found["unseen"]["f1"], strict=True)), found["unseen"]["segments"])


def qualities(gold: Sequence[GoldPage], ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Both sides' quality. Raises DifferentOutputs if ours is worse in anything."""
    own, other = quality(gold, ours), quality(gold, theirs)
    told = f"{own}; the peer: {other}; {len(gold)} pages. Ours learned from them; on sites not seen: {unseen()}"
    if not own.no_worse_than(other):
        raise DifferentOutputs(f"ours is worse: {told}")
    return told
