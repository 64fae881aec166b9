"""WET records as cc_net reads them. The expected values are what its own module gives for these archives."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from infra.outcomes import Document, Dropped, Kept, Outcome, read_all
from tasks.sources.wet import WetConfig, read_wet
from tests.tasks.sources.samples import stored, warc_record

CONFIG = WetConfig(source="dump", compat="ccnet", min_characters=1)
# The fields of a conversion record in their order, in 2019 and since 2020: cc_net reads the former by position.
FIELDS_2019 = ("WARC-Refers-To", "WARC-Block-Digest", "Content-Type")
FIELDS_2020 = (*FIELDS_2019[:2], "WARC-Identified-Content-Language", FIELDS_2019[2])


def outcomes(data: bytes, config: WetConfig = CONFIG) -> list[Outcome]:
    return list(read_all(read_wet(io.BytesIO(data), "made.wet", config)))


def document(found: Outcome) -> Document:
    assert isinstance(found, Kept)
    return found.document


def wet_record(block: bytes, line_ends: bytes = b"\r\n\r\n", number: int = 0) -> bytes:
    record = warc_record(block, "conversion", number)
    assert record.endswith(b"\r\n\r\n")
    return record[:-4] + line_ends


# What is told, the block, the title and the text.
TEXTS = [
    ("a title line", "Title\nOne line.\n", "Title", "One line."),
    ("all kinds of line ends", "T\r\none\rtwo\n\rthree\r\n\r\nfour\n", "T", "one\ntwo\n\nthree\n\nfour"),
    ("no line end behind the last line", "T\none", "T", "one\n"),
    ("CR behind the last line", "T\none\r", "T", "one"),
    ("blank lines at the end", "T\none\n\n\n", "T", "one\n\n"),
    ("a blank line behind the title", "T\n\n one\n", "T", "\none"),
    ("no title", "\none\n", "", "one"),
    ("all white space is stripped", "T\u3000\n\u00a0 a\u2028\tb \u2003\n\x1cc\x85\n", "T", "a\u2028\tb\nc"),
    ("others end no line", "T\na\x0bb\x0cc\x1dd\x85e\u2028f\u2029g\n", "T", "a\x0bb\x0cc\x1dd\x85e\u2028f\u2029g"),
    ("control characters", "T\0\x07\n\0a\0\x1b[1m\x7fb\0\n", "T\0\x07", "\0a\0\x1b[1m\x7fb\0"),
    ("marks and what is no character", "\ufeffT\n\ufeffa\ufffe\uffff\n", "\ufeffT", "\ufeffa\ufffe\uffff"),
    ("white space without a line end", "T\none\n  ", "T", "one"),
]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_title_and_text_are_those_of_cc_net(compression: str) -> None:
    records = [wet_record(block.encode(), number=number) for number, (_, block, _, _) in enumerate(TEXTS)]
    found = [document(outcome) for outcome in outcomes(stored(records, compression)[0])]
    told = [(case[0], read.metadata["title"], read.text) for case, read in zip(TEXTS, found, strict=True)]
    assert told == [(name, title, text) for name, _, title, text in TEXTS]
    assert all(read.metadata.get("lines_cut") is None for read in found)


@pytest.mark.parametrize(
    ("line_ends", "text"),
    [
        (b"\r\n\r\n", "one"),
        (b"\n\n", "one"),
        (b"\r\n", "one\n"),
        (b"\r\n\r\n\r\n", "one\n"),
        (b"\r\n" * 5, "one\n\n\n"),
    ],
)
def test_two_blank_lines_at_the_end_separate_records(line_ends: bytes, text: str) -> None:
    """A single one is a line of the text, and so are those before the last two."""
    data = wet_record(b"T\none\n", line_ends) + wet_record(b"T\ntwo\n", number=1)
    assert [document(found).text for found in outcomes(data)] == [text, "two"]


def test_the_end_of_the_file_needs_no_separator() -> None:
    for block, text in ((b"T\none\n", "one"), (b"T\none", "one"), (b"T\none\n\n", "one\n")):
        [found] = outcomes(wet_record(block, b""))
        assert document(found).text == text


def test_a_record_without_text_is_dropped() -> None:
    records = [wet_record(block, number=n) for n, block in enumerate((b"", b"\n", b"Title", b"Title\n", b"\r\n\r\n"))]
    found = outcomes(b"".join(records))
    assert [outcome.reason for outcome in found if isinstance(outcome, Dropped)] == ["empty_text"] * 5


def test_the_floor_counts_characters_without_the_title() -> None:
    title, line = b"A title of some length, which does not count\n", "é" * 299
    records = [
        wet_record(title + line.encode() + b"\n", number=1),
        wet_record(title + line.encode() + b"!\n", number=2),
        wet_record(title + line.encode(), number=3),  # and one blank line
    ]
    short, kept, blank = outcomes(b"".join(records), WetConfig(compat="ccnet"))
    assert isinstance(short, Dropped) and short.reason == "short_text"
    assert [len(document(found).text) for found in (kept, blank)] == [300, 300]
    lower = WetConfig(compat="ccnet", min_characters=299)
    assert [len(document(found).text) for found in outcomes(records[0], lower)] == [299]
    assert WetConfig().least == 1


def test_a_line_that_begins_a_record_for_cc_net_cuts_the_text_and_is_told() -> None:
    block = b"T\none\n\n WARC/1.0 \nWARC-Type: conversion\n\ntwo\n"
    data = wet_record(block) + wet_record(b"T\nWARC/1.0 and more\nWARC/1.1\n", number=1)
    cut, whole = [document(found) for found in outcomes(data)]
    assert (cut.text, cut.metadata["lines_cut"]) == ("one\n", 6)
    assert (whole.text, "lines_cut" in whole.metadata) == ("WARC/1.0 and more\nWARC/1.1", False)


@pytest.mark.parametrize("fields", [FIELDS_2019, FIELDS_2020, FIELDS_2020[::-1]])
def test_fields_are_read_by_name(fields: tuple[str, ...]) -> None:
    values = {"WARC-Block-Digest": "sha1:ABC", "WARC-Refers-To": "<urn:uuid:1>", "Content-Type": "text/plain"}
    values["WARC-Identified-Content-Language"] = "deu,eng"
    block = b"Title\nOne line.\n"
    named = [f"{name}: {values[name]}" for name in fields]
    lines = [f"Content-Length: {len(block)}", "WARC-Date: 2024-02-03T04:05:06Z", "WARC-Type: conversion"]
    lines += [*named, "WARC-Record-ID: <urn:uuid:2>", "WARC-Target-URI: http://mill.example/"]
    for order in (lines, lines[::-1]):
        header = "\r\n".join(["WARC/1.0", *order]).encode()
        [found] = outcomes(header + b"\r\n\r\n" + block + b"\r\n\r\n")
        read = document(found)
        assert (read.id, read.url, read.date) == ("dump/2", "http://mill.example/", "2024-02-03T04:05:06Z")
        assert (read.metadata["block_digest"], read.text) == ("sha1:ABC", "One line.")
        assert read.metadata["languages"] == ("deu,eng" if len(fields) == 4 else None)


def test_the_sample_of_cc_nets_own_tests(shared_data: Path) -> None:
    """A text file with bare line feeds and lengths that are not true; one blank line stands between records."""
    data = (shared_data / "archives" / "ccnet-sample.wet.txt").read_bytes()
    found = [document(outcome) for outcome in outcomes(data) if isinstance(outcome, Kept)]
    assert [read.metadata["title"] for read in found] == [
        "Famous Mark Twain Quotes",
        "馬克·吐溫名言",
        "Цитаты знаменитого Марка Твена",
    ]
    assert [(read.text.count("\n"), read.text.endswith("\n")) for read in found] == [(5, True), (4, True), (3, False)]
