"""C4's duplicate lines: what TFDS's `remove_duplicate_text` keeps of real and of made pages."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import hypothesis
import pyarrow as pa
from hypothesis import strategies

from infra.documents import apply_edits
from tasks.c4_lines import C4LinesConfig, annotate_lines, c4_lines
from tasks.sources.archives import ArchiveRecord, read_records
from tasks.text.c4_urls import normalised_url
from tests.tasks.partitioned import run_partitioned


def kept(pages: list[tuple[str | None, str]], size: int, partitions: int) -> tuple[list[str], int, int]:
    """The texts after the edits, and how many lines there were and were struck."""
    table = pa.table(
        {
            "id": [f"w/{number}" for number in range(len(pages))],
            "url": pa.array([url for url, _ in pages], pa.string()),
            "text": pa.array([text for _, text in pages], pa.string()),
        }
    )
    shards = [table.slice(start, size) for start in range(0, len(pages), size)]
    found = run_partitioned(c4_lines, shards, C4LinesConfig(), partitions)
    texts: list[str] = []
    for shard, annotation in zip(shards, found, strict=True):
        viewed, struck = apply_edits(shard["text"], annotation["edits"])
        assert struck == sum(annotation["bytes_struck"].to_pylist())
        texts += viewed.to_pylist()
    lines, gone = (sum(sum(shard[name].to_pylist()) for shard in found) for name in ("lines", "struck"))
    return texts, lines, gone


def as_published(pages: list[tuple[str, str]]) -> list[str]:
    """What the rule says, line by line, for pages with different normalised URLs."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    owners: dict[str, list[str]] = {}
    for url, text in pages:
        for line in text.split("\n"):
            owners.setdefault(line.strip().lower(), []).append(normalised_url(url))
    texts = []
    for url, text in pages:
        seen: set[str] = set()
        lines = []
        for line in text.split("\n"):
            key = line.strip().lower()
            if min(owners[key], key=md5) == normalised_url(url) and key not in seen:
                lines.append(line)
            seen.add(key)
        texts.append("\n".join(lines))
    return texts


LINES = strategies.lists(
    strategies.sampled_from(["a", "A ", "b", "\u00fcber", "\u00dcBER", "", " ", "c\r"]), max_size=5
)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(strategies.lists(LINES.map("\n".join), min_size=1, max_size=6), strategies.integers(1, 3))
def test_a_line_stays_in_one_page(texts: list[str], partitions: int) -> None:
    pages = [(f"https://mill.example/{number}", text) for number, text in enumerate(texts)]
    assert kept(list(pages), 2, partitions)[0] == as_published(pages)


def test_real_pages_keep_what_tfds_keeps(shared_data: Path) -> None:
    """The digest is of the texts that ``remove_duplicate_text`` keeps, without its rule on sentences.

    It was made with `_emit_url_to_lines` and `_remove_lines_from_text` of c4_utils.py at commit 0560e686 and the least
    `_hash_text` for each line, run alone on the blocks of these files; of pages with one normalised URL on the first.
    """
    pages: dict[str, tuple[str | None, str]] = {}
    for path in sorted((shared_data / "ccnet" / "wet").rglob("*.wet*")):
        with path.open("rb") as stream:
            for record in read_records(stream, path.name):
                if isinstance(record, ArchiveRecord) and record.type == "conversion":
                    page = (record.uri, record.block.decode("utf-8", "replace"))
                    pages.setdefault(normalised_url(record.uri or ""), page)
    texts, lines, struck = kept([*pages.values()], 400, 3)
    assert (len(texts), lines, lines - struck, texts.count("")) == (1_763, 355_184, 197_325, 6)
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    assert digest == "f254667d47482a0add0212e026a9c0f8fc1ce00424e52cbdff034d5fd5f2420d"


def test_pages_of_one_url_keep_their_lines() -> None:
    """The newest of them stays in the corpus, and must not have lost its lines to one that goes."""
    pages: list[tuple[str | None, str]] = [
        ("http://www.mill.example/", "one\ntwo"),
        ("https://mill.example", "one\nthree\none"),
        (None, "x"),
        (None, "x\ny"),
    ]
    first, second, *without = kept(pages, 1, 2)[0]
    assert (first, second) == ("one\ntwo", "one\nthree")
    # Without URLs, documents are pages by their ids.
    least = min((0, 1), key=lambda number: hashlib.md5(f"w/{number + 2}".encode()).hexdigest())
    assert without == (["x", "y"] if least == 0 else ["", "x\ny"])


def test_a_text_of_line_feeds_takes_little_memory() -> None:
    text = "\n" * (1 << 17)
    lost = pa.table(
        {"row": pa.array([0], pa.int32()), "high": pa.array([1], pa.uint64()), "low": pa.array([1], pa.uint64())}
    )
    tracemalloc.start()
    try:
        found = annotate_lines(pa.table({"text": [text]}), lost, C4LinesConfig())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["lines"].to_pylist() == [len(text) + 1]
    assert peak < 80 * len(text)
