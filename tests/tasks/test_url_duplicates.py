"""One page for a URL: normalised as TFDS normalises the URLs of C4, the newest stays, and the ledger says why."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.corpus.duplicates import reason_of
from tasks.exact_duplicates import ExactDuplicatesConfig
from tasks.near_duplicates import NearDuplicateConfig
from tasks.text.c4_urls import normalised_url
from tasks.url_duplicates import UrlDuplicatesConfig, url_duplicates
from tests.tasks.partitioned import run_partitioned

# What ``normalize_url`` of tensorflow/datasets gives (c4_utils.py at commit 0560e686).
COUNT, DIGEST = 1_768, "ad82c4189fc1f70b8b7cab53a4ff13db196800159c79925d279f2d425711811d"
PUBLISHED = {
    "http://www.mill.example/": "mill.example",
    "https://mill.example/a//": "mill.example/a",
    "HTTP://mill.example": "HTTP://mill.example",
    "http://WWW.mill.example": "WWW.mill.example",
    "https://mill.example/?utm_source=x&id=1": "mill.example",
    "https://mill.example/a?id=1&utm_source=x": "mill.example/a?id=1&utm_source=x",
    "https://mill.example/a/?reference=1": "mill.example/a",
    "https://mill.example/a?feed=rss2\nb": "mill.example/a\nb",
    "https://web.example/save/https://www.mill.example/?ref": "web.example/save/mill.example",
    "https://mill.example/?a?feed": "mill.example/?a",
    "//mill.example/": "//mill.example",
    "": "",
    "https://": "",
    "https://mill.example/#top/": "mill.example/#top",
}


@pytest.mark.parametrize(("url", "normalised"), PUBLISHED.items())
def test_urls_are_normalised_as_published(url: str, normalised: str) -> None:
    assert normalised_url(url) == normalised


def test_urls_of_real_pages_are_normalised_as_published(shared_data: Path) -> None:
    """The hash is that of the published function's results, one for a line, for the URLs in the order of the files.

    It was made with ``normalize_url`` of c4_utils.py at commit 0560e686, run alone.
    """
    urls = []
    for path in sorted((shared_data / "crawl" / "gold").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            urls += [url for line in lines if (url := json.loads(line).get("url"))]
    found = "\n".join(normalised_url(url) for url in urls)
    assert (len(urls), hashlib.sha256(found.encode()).hexdigest()) == (COUNT, DIGEST)


def test_documents_of_one_url_are_together() -> None:
    urls = [
        "http://a.example/x",
        "https://www.a.example/x/?utm_a=1",
        None,
        None,
        "http://a.example/X",
        "http://b.example/",
    ]
    table = pa.table({"id": [str(n) for n in range(6)], "url": pa.array(urls, pa.string()), "text": [""] * 6})
    for partitions in (1, 3):
        shards = [table.slice(0, 1), table.slice(1)]
        found = [
            name
            for shard in run_partitioned(url_duplicates, shards, UrlDuplicatesConfig(), partitions)
            for name in shard["cluster"].to_pylist()
        ]
        assert found[0] == found[1] is not None and found[2:] == [None] * 4
    assert url_duplicates.describe is not None
    assert url_duplicates.describe({"cluster": None}) == ["its URL is its own"]


def test_each_step_has_its_reason() -> None:
    configs = (UrlDuplicatesConfig(), ExactDuplicatesConfig(), NearDuplicateConfig())
    assert [reason_of(config) for config in configs] == ["same_url", "exact_duplicate", "near_duplicate"]
