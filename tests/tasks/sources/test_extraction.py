from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tasks.sources.archives import ArchiveRecord, read_records
from tasks.sources.charset import decode_page
from tasks.sources.extraction import ExtractionError, Extractor, extract_page, storable
from tasks.sources.http import message_of
from tasks.sources.web_archive import WebArchiveConfig
from tests.tasks.sources.samples import HTML, PARAGRAPH

SCRAPINGHUB = "scrapinghub/article-extraction-benchmark"
ANDY = "AndyTheFactory/article-extraction-dataset"
SAMPLE = 4


@pytest.fixture(scope="module")
def gold_pages(shared_data: Path) -> list[tuple[str, str, str]]:
    """(page, gold text, set) of every fourth gold article."""
    crawl = shared_data / "crawl"
    gold: dict[str, tuple[str, str]] = {}
    with gzip.open(crawl / "gold" / "html-article-gold.jsonl.gz") as lines:
        for row in map(json.loads, lines):
            gold[row["sha256"]] = (row["gt"]["text"], row["source"])
    pages = []
    for path in sorted(crawl.glob("html-article-gold-*.warc.gz")):
        with path.open("rb") as stream:
            for record in read_records(stream, path.name):
                message = message_of(record) if isinstance(record, ArchiveRecord) else None
                known = gold.get(hashlib.sha256(message.body).hexdigest()) if message else None
                if message and known:
                    pages.append((decode_page(message.body, message.headers.get("content-type")).text, *known))
    assert len(pages) == len(gold) == 333
    return pages[::SAMPLE]


def token_f1(text: str, gold: str) -> float:
    """F1 of word multisets, lower-cased, as the baselines beside the gold texts are computed."""
    found, wanted = (Counter(re.findall(r"\w+", value.lower())) for value in (text, gold))
    shared = sum((found & wanted).values())
    return 2 * shared / (found.total() + wanted.total())


@pytest.mark.parametrize(
    ("extractor", "least"),
    [
        (Extractor.millrace, {SCRAPINGHUB: 0.93, ANDY: 0.9}),
        (Extractor.trafilatura, {SCRAPINGHUB: 0.94, ANDY: 0.88}),
        (Extractor.resiliparse, {SCRAPINGHUB: 0.91, ANDY: 0.77}),
    ],
)
def test_text_is_close_to_gold(
    gold_pages: list[tuple[str, str, str]], extractor: Extractor, least: dict[str, float]
) -> None:
    scores: dict[str, list[float]] = {SCRAPINGHUB: [], ANDY: []}
    for page, gold, name in gold_pages:
        scores[name].append(token_f1(extract_page(page, extractor).text, gold))
    means = {name: sum(values) / len(values) for name, values in scores.items()}
    assert all(means[name] > least[name] for name in least), means


def test_the_default_extractor_is_the_better_one() -> None:
    assert WebArchiveConfig().extractor is Extractor.millrace


@pytest.mark.parametrize("extractor", Extractor)
def test_a_page_gives_the_same_text_again_whatever_came_between(
    gold_pages: list[tuple[str, str, str]], extractor: Extractor
) -> None:
    pages = [page for page, _, _ in gold_pages[:12]]
    forwards = [extract_page(page, extractor).text for page in pages]
    backwards = [extract_page(page, extractor).text for page in reversed(pages)]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize("extractor", Extractor)
def test_odd_markup_gives_text_or_an_extraction_error(extractor: Extractor) -> None:
    article = HTML.decode().replace("%s", PARAGRAPH)
    assert "the river" in extract_page(article, extractor).text
    assert "the river" in extract_page(article.replace("<body>", "<body>\0\x01\ud800"), extractor).text
    for page in ("", " ", "\0", "<", "<!doctype html>", "<html></html>", "plain", "<p" * 1000, "&#xd800;&#0;" * 100):
        text = extract_page(page, extractor).text
        assert text == storable(text)
        text.encode()


@pytest.mark.parametrize("extractor", Extractor)
@pytest.mark.parametrize("tag", ["div", "b", "ul><li", "table><tr><td"])
def test_deep_nesting_is_an_error_instead_of_minutes(extractor: Extractor, tag: str) -> None:
    with pytest.raises(ExtractionError, match="5000 elements nested in each other"):
        extract_page("<html><body>" + f"<{tag}>" * 100_000 + PARAGRAPH, extractor)
    extract_page("<html><body>" + f"<{tag}>" * 500 + PARAGRAPH, extractor)


def test_many_elements_side_by_side_are_no_nesting() -> None:
    page = "<html><body><article>" + "<div><span>The wheel turns.</span></div>" * 20_000 + "</article></body></html>"
    assert extract_page(page, Extractor.resiliparse).text.count("The wheel turns.") == 20_000


@pytest.mark.parametrize("extractor", Extractor)
def test_titles(extractor: Extractor) -> None:
    def title(page: str) -> str | None:
        return extract_page(page, extractor).title

    assert title("<head><TITLE lang=en>Mills &amp;\n <b>Wheels\x01</title>") == "Mills & <b>Wheels"
    assert title("<!-- <title>no</title> --><svg><title>no</title></svg><title>Mills</title>") == "Mills"
    assert title("<title></title>") is None
    assert title("<p>no title") is None


def test_storable_text_can_be_stored() -> None:
    assert storable(" a\r\nb\rc\x0cd\x85e\0\x07\x7f\x9f\ud83d\tf\u2028\n") == "a\nb\nc\nd\ne\tf"
    assert storable("emoji \U0001f600, accents é, \u200b") == "emoji \U0001f600, accents é, \u200b"
    assert storable("a\ufffe\uffffb \u200d\ue000\u0378\U000e0067") == "ab \u200d\ue000\u0378\U000e0067"
