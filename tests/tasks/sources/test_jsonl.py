"""JSON Lines: published samples as they are, and lines that are broken in every way."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path

import pytest

from infra.outcomes import Dropped, Failed, Kept, Outcome
from tasks.sources.jsonl import JsonLinesConfig, read_json_lines


def read(data: bytes, **config: object) -> list[Outcome]:
    return list(read_json_lines(io.BytesIO(data), "x.jsonl", JsonLinesConfig.model_validate(config)))


def test_published_samples_are_read_whole(shared_data: Path) -> None:
    for path in sorted((shared_data / "jsonl-samples").glob("*.json*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            expected = [json.loads(line)["text"] for line in stream if line.strip()]
        outcomes = read(path.read_bytes(), source="sample")
        kept = [outcome.document for outcome in outcomes if isinstance(outcome, Kept)]
        assert len(kept) == len(outcomes) == len(expected)
        assert [document.text[:100] for document in kept] == [text.replace("\r\n", "\n")[:100] for text in expected]


def test_fields_become_what_the_config_says() -> None:
    line = json.dumps({"body": "words", "key": 7, "link": "http://x/", "when": "2020-01-01", "lang": "en", "more": [1]})
    config = {"text_field": "body", "id_field": "key", "url_field": "link", "date_field": "when", "source": "s"}
    [outcome] = read(line.encode(), **config, metadata_fields=("lang", "more", "none"), licence="CC0-1.0")
    assert isinstance(outcome, Kept)
    document = outcome.document
    assert (document.id, document.text, document.url, document.date) == ("s/7", "words", "http://x/", "2020-01-01")
    assert (document.licence, document.metadata) == ("CC0-1.0", {"offset": 0, "lang": "en"})


def test_every_broken_line_is_an_entry_with_its_offset() -> None:
    lines = [
        b'{"text": "one"}',
        b"{",
        b'{"text": 3}',
        b"[]",
        b'{"text": "\xff"}',
        b'{"text": ""}',
        b"  ",
        b'{"text": "two"}',
    ]
    data = b"\n".join(lines)
    outcomes = read(data)
    assert Counter(type(outcome) for outcome in outcomes) == {Kept: 2, Failed: 4, Dropped: 1}
    failed = [(outcome.reason, outcome.offset) for outcome in outcomes if isinstance(outcome, Failed)]
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    assert failed == [("not_json", starts[1]), ("no_text", starts[2]), ("no_text", starts[3]), ("not_utf8", starts[4])]
    assert sum(outcome.bytes for outcome in outcomes) == len(data) - len(lines[6]) - 1


def test_a_line_that_is_too_long_is_skipped_and_counted() -> None:
    data = b'{"text": "' + b"x" * (3 << 20) + b'"}\n{"text": "next"}\n'
    outcomes = read(data, max_line_bytes=1 << 20)
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Failed)} == {"line_too_long"}
    assert [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)] == ["next"]
    assert sum(outcome.bytes for outcome in outcomes) == len(data)


@pytest.mark.parametrize("cut", [40, 200])
def test_a_truncated_file_gives_what_lies_before_the_end(cut: int) -> None:
    lines = b"".join(
        json.dumps({"text": f"document {number} {number * 7919}"}).encode() + b"\n" for number in range(400)
    )
    data = gzip.compress(lines)
    outcomes = read(data[: len(data) - cut])
    faults = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert faults[-1].reason == "truncated"
    assert 0 < len([outcome for outcome in outcomes if isinstance(outcome, Kept)]) < 400
