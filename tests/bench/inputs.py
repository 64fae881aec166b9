"""What benchmarks run on: the real archives that lie beside the project, or else the crawl that the demo makes."""

from __future__ import annotations

import atexit
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.outcomes import Kept, read_all
from tasks.demo.crawl import LIBRARY_FILE, PACKAGES_FILE, make_crawl
from tasks.sources.web_archive import WebArchiveConfig, read_web_archive
from tests.bench.measure import Workload

CRAWL = Path(__file__).resolve().parents[3] / "shared" / "data" / "crawl"
# One archive of each collection: articles, news, odds and ends, recipes, and a mixture in German.
TEXT_ARCHIVES = (
    "html-article-gold-04",
    "html-fundus-news-01",
    "html-misc-01",
    "html-recipes-08",
    "html-trafilatura-eval-00",
)


def whole_crawl() -> tuple[Path, ...]:
    """Every archive that all readers can read: undamaged WARC in gzip."""
    return tuple(sorted(CRAWL.glob("*.warc.gz"))) if CRAWL.is_dir() else (_demo_crawl() / LIBRARY_FILE,)


def two_archives() -> tuple[Path, Path]:
    """Two archives of about the same size, so that two workers can share them."""
    if CRAWL.is_dir():
        return CRAWL / "html-trafilatura-eval-00.warc.gz", CRAWL / "html-trafilatura-eval-01.warc.gz"
    return _demo_archives()


def third_of_crawl() -> tuple[Path, ...]:
    """Every third archive: at least one of each collection."""
    return whole_crawl()[2::3] if CRAWL.is_dir() else _demo_archives()


@functools.cache
def page_texts(whole: bool = False) -> Workload[list[str]]:
    """The texts that the source stage keeps of some archives, or of the whole crawl."""
    archives: Sequence[Path]
    if whole:
        archives = whole_crawl()
    elif CRAWL.is_dir():
        archives = [CRAWL / f"{name}.warc.gz" for name in TEXT_ARCHIVES]
    else:
        archives = _demo_archives()
    texts: list[str] = []
    for archive in archives:
        with archive.open("rb") as stream:
            outcomes = read_all(read_web_archive(stream, archive.name, WebArchiveConfig()))
            texts += [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)]
    name = f"pages of the {kind_of_crawl()} crawl, {len(archives)} files"
    return Workload(texts, name, len(texts), "documents", sum(len(text.encode()) for text in texts), "of text")


def kind_of_crawl() -> str:
    """Which of the two inputs this is, in a word."""
    return "real" if CRAWL.is_dir() else "demo"


def _demo_archives() -> tuple[Path, Path]:
    return _demo_crawl() / LIBRARY_FILE, _demo_crawl() / PACKAGES_FILE


@functools.cache
def _demo_crawl() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="millrace-bench-")
    atexit.register(folder.cleanup)
    make_crawl(Path(folder.name))
    return Path(folder.name)
