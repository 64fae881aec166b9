"""What keeps kernels fast on every machine: the calls and bytes of a text, counted, never its seconds."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable
from functools import partial

import pyarrow as pa
import pytest

from infra.documents import EDITS_TYPE, apply_edits
from tasks.heuristics import HeuristicsConfig, measure_heuristics
from tasks.paragraphs import ParagraphConfig, annotate_paragraphs, map_paragraphs, reduce_paragraphs
from tasks.signatures import SignatureConfig, signatures
from tasks.sources.archives import ArchiveRecord, read_records
from tasks.text.normalise import normalise_for_scoring
from tests.tasks.sources.samples import warc_record
from tests.tasks.sources.work import CountingStream, Inflater, work_of


def calls_of(work: Callable[[], object]) -> int:
    """Calls of functions, in Python and C, that are not compiled."""
    work()  # tables and compilation
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def table(lines: int) -> pa.Table:
    """A few documents of so many lines each, of which half are shared."""
    texts = [
        "\n".join(f"Line {number} of {'all' if number % 2 else own} – by the mill, 2019…" for number in range(lines))
        for own in range(4)
    ]
    return pa.table({"id": [str(row) for row in range(4)], "text": texts})


def strike(documents: pa.Table) -> pa.Table:
    config = ParagraphConfig()
    return annotate_paragraphs(documents, reduce_paragraphs([(0, map_paragraphs(documents, config))], config), config)


KERNELS: dict[str, Callable[[pa.Table], object]] = {
    "paragraphs": strike,
    "signatures": lambda documents: signatures(documents, SignatureConfig()),
    "scoring": lambda documents: [normalise_for_scoring(text) for text in documents["text"].to_pylist()],
}


@pytest.mark.parametrize("name", KERNELS)
def test_calls_do_not_grow_with_the_length_of_documents(name: str) -> None:
    """These kernels see whole texts or columns: their loops over characters, words and lines are compiled."""
    documents = [table(lines) for lines in (50, 1000)]
    small, large = (calls_of(partial(KERNELS[name], one)) for one in documents)
    assert small < 1_000
    assert large < small + 100


def test_heuristics_call_little_for_a_word() -> None:
    """Python sees each distinct word and each line; repeated n-grams are counted in compiled code."""
    text = "\n".join("the mill stands by the river and its wheel turns" for _ in range(400))
    documents = pa.table({"text": [text]})
    assert calls_of(lambda: measure_heuristics(documents, HeuristicsConfig())) < 3 * len(text.split())


def test_calls_of_edits_grow_with_edits_and_not_with_documents() -> None:
    def edited(documents: int) -> int:
        spans = [[{"start": 0, "end": 1, "replacement": ""}]] + [[]] * (documents - 1)
        texts, edits = pa.chunked_array([["one text"] * documents]), pa.chunked_array([pa.array(spans, EDITS_TYPE)])
        return calls_of(lambda: apply_edits(texts, edits))

    assert edited(2_000) < edited(20) + 20


def test_an_archive_is_read_and_inflated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [warc_record(b"HTTP/1.1 200 OK\r\n\r\n" + b"the mill %d " % number * 3000) for number in range(40)]
    data = b"".join(gzip.compress(record, mtime=0) for record in records)
    stream = CountingStream(data)
    found = list(read_records(stream, "made.warc.gz"))
    assert len(found) == 40 and all(isinstance(record, ArchiveRecord) for record in found)
    assert stream.count <= len(data) + 16
    work_of(lambda stream: read_records(stream, "made.warc.gz"), data, monkeypatch)
    assert Inflater.fed == len(data)


def test_calls_of_a_record_do_not_grow_with_its_size() -> None:
    def read(size: int) -> int:
        data = b"".join(
            gzip.compress(warc_record(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size), mtime=0) for _ in range(20)
        )
        return calls_of(lambda: list(read_records(io.BytesIO(data), "made.warc.gz")))

    small = read(100)
    assert small < 20 * 250
    # Pieces of 256 KiB are passed on one by one.
    assert read(1 << 20) < small + 20 * 4 * 60
