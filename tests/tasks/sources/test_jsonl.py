"""JSON Lines: published samples as they are, and lines that are broken in every way."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.documents import documents_table
from infra.outcomes import Dropped, Failed, Kept, Outcome, read_all
from tasks.sources import json_line, jsonl
from tasks.sources.jsonl import JsonLinesConfig, read_json_lines
from tests.tasks.sources.dumps import COMPRESSIONS


def read(data: bytes, **config: object) -> list[Outcome]:
    return list(read_all(read_json_lines(io.BytesIO(data), "x.jsonl", JsonLinesConfig.model_validate(config))))


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
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)] == ["line_too_long"]
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


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_files_are_read_in_every_compression(compression: str) -> None:
    lines = [b'{"text": "document %d"}' % number for number in range(99)]
    outcomes = read(COMPRESSIONS[compression](b"\n".join(lines)))
    assert [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)] == [
        f"document {number}" for number in range(99)
    ]


def test_behind_damage_lines_are_read_from_the_next_on() -> None:
    """Parallel compressors end a stream anywhere in a line."""
    lines = b"".join(b'{"text": "document %d of many"}\n' % number for number in range(900))
    first, second, third = map(bz2.compress, (lines[:9_000], lines[9_000:18_000], lines[18_000:]))
    outcomes = read(first + second[:60] + bytes(9) + second[69:] + third)
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)]
    texts = [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)]
    assert len(reasons) == 1
    assert texts[0] == "document 0 of many" and texts[-1] == "document 899 of many"
    assert len(texts) > 500


TEXT = b'"text": "words"'
LARGE = b"9" * 5000
FIELDS: dict[str, object] = {
    "id_field": "id",
    "date_field": "date",
    "metadata_fields": ("offset2", "lang"),
}
PLAIN = {"id", "url", "date", "lang"}


def one(line: bytes, **config: object) -> Outcome:
    """The only outcome of a line, whose neighbours stay as they are."""
    before, outcome, after = read(b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n', **config)
    assert [kept.document.text for kept in (before, after) if isinstance(kept, Kept)] == ["before", "after"]
    assert outcome.bytes == len(line) + 1
    return outcome


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b", " + TEXT + b"}", "too_complex"),
        (b"[" * 200_000, "too_complex"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "too_complex"),
        (b'{"a": [' + b"0," * (1 << 20) + b"0], " + TEXT + b"}", "too_complex"),
        (b"{" + TEXT + b', "a": NaN}', "not_json"),
        (b"{" + TEXT + b', "a": -Infinity}', "not_json"),
        (b"{" + TEXT + b"}{" + TEXT + b"}", "not_json"),
        (b'{"text": "wo\0rds"}', "not_json"),
        (b"{" + TEXT + b"}\0", "not_json"),
        (bytes(30), "not_json"),
        (b"\x1b[2J", "not_json"),
        (LARGE, "no_text"),
        (b'{"text": null}', "no_text"),
        (b'{"text": ["words"]}', "no_text"),
        (b'{"text": "words\xed\xa0\x80"}', "not_utf8"),
        (b"\xff\xfe{\0", "not_utf8"),
        (b"{" + TEXT + b', "id": ""}', "bad_id"),
        (b"{" + TEXT + b', "id": [1]}', "bad_id"),
        (b"{" + TEXT + b', "id": true}', "bad_id"),
    ],
)
def test_a_line_that_cannot_be_read_is_one_failure(line: bytes, reason: str) -> None:
    outcome = one(line, id_field="id")
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.offset) == (reason, 19)
    assert "x.jsonl, byte 19" in outcome.example
    assert "words" not in outcome.example


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b'"id": " a b "', {"id": "jsonl/ a b "}),
        (b'"id": 7', {"id": "jsonl/7"}),
        (b'"id": 7.5', {"id": "jsonl/7.5"}),
        (b'"id": ' + LARGE, {"id": "jsonl/" + LARGE.decode()}),
        (b'"id": "\\ud800"', {"id": "jsonl/\\ud800"}),
        (b'"id": "\\ud801", "url": "http://x/\\udfff"', {"id": "jsonl/\\ud801", "url": "http://x/\\udfff"}),
        (b'"url": 5, "date": 2020', {"url": None, "date": None}),
        (b'"date": "\\ud83d\\ude00 \\ud83d"', {"date": "\U0001f600 \\ud83d"}),
        (b'"lang": "\\udead"', {"lang": "\\udead"}),
        (b'"lang": 1e999', {"lang": "1e999"}),
        (b'"lang": ' + str(1 << 64).encode(), {"lang": str(1 << 64)}),
        (b'"lang": -' + LARGE, {"lang": "-" + LARGE.decode()}),
        (b'"lang": null', {"lang": None}),
        (b'"lang": false', {"lang": False}),
        (b'"unused": ' + LARGE, {"text": "words"}),
        (b'"unused": "' + b"[{" * 9000 + b'"', {"text": "words"}),
        (b'"unused": [' + b"[]," * 4000 + b"[]]", {"text": "words"}),
        (b'"text": "later"', {"text": "later"}),
        ('"lang": "a\u2028b\x85c"'.encode(), {"lang": "a\u2028b\x85c"}),
    ],
)
def test_whatever_stands_in_a_field_can_be_stored(fields: bytes, expected: dict[str, object]) -> None:
    outcome = one(b"{" + TEXT + b", " + fields + b"}", **FIELDS)
    assert isinstance(outcome, Kept)
    [row] = documents_table([outcome.document]).to_pylist()
    row |= {"lang": None, **json.loads(row["metadata"], parse_constant=pytest.fail)}
    assert {name: row[name] for name in expected} == expected


def test_surrogates_of_a_text_are_removed() -> None:
    outcome = one(b'{"text": "wo\\ud800rds \\ud83d\\ude00"}')
    assert isinstance(outcome, Kept)
    assert outcome.document.text == "words \U0001f600"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_marks_and_line_ends_change_no_document(mark: bytes, end: bytes) -> None:
    lines = [b"{" + TEXT + b"}", b'{"text": "more"}']
    plain = [outcome.document for outcome in read(b"\n".join(lines)) if isinstance(outcome, Kept)]
    marked = read(mark + (end + mark).join(lines) + end)
    assert len(plain) == len(marked) == 2
    for outcome, document in zip(marked, plain, strict=True):
        assert isinstance(outcome, Kept)
        assert (outcome.document.id, outcome.document.text) == (document.id, document.text)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("pieces", [1, 7, 1 << 15])
def test_a_line_is_too_long_by_its_own_length(end: bytes, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "decompressed", lambda stream: in_pieces(stream.read(), pieces))
    fitting = b'{"text": "' + b"x" * (1024 - 12) + b'"}'
    for line, reason in ((fitting, None), (b" " + fitting, "line_too_long"), (fitting * 30, "line_too_long")):
        outcomes = read(b'{"text": "a"}\n' * 2 + line + end, max_line_bytes=1024)
        assert len(outcomes) == 3
        last = outcomes[2]
        assert (last.reason if isinstance(last, Failed) else None, last.bytes) == (reason, len(line + end))


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_each_byte_of_a_line_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = 0

    class Piece(bytes):
        def find(self, wanted: bytes, start: int = 0) -> int:  # type: ignore[override]
            nonlocal searched
            found = super().find(wanted, start)
            searched += (found + 1 or len(self)) - start
            return found

    data = b'{"text": "' + b"x" * (1 << 20) + b'"}\n{"text": "y"}\n'
    pieces = [Piece(data[start : start + 4096]) for start in range(0, len(data), 4096)]
    monkeypatch.setattr(jsonl, "decompressed", lambda stream: iter(pieces))
    assert len(read(data)) == 2
    assert searched == len(data)


def test_the_structure_of_a_hostile_line_is_scanned_once() -> None:
    """Strings that are not closed, and quotes that are escaped, are not looked at again from each quote."""
    line = b'{"a": "' + b'\\\\"' * 3 + b'\\"' * 200_000 + b"[" * 200
    matches = [match.span() for match in json_line._STRUCTURE.finditer(line)]
    assert sum(end - start for start, end in matches) <= len(line)
    assert isinstance(one(line), Failed)


def test_a_line_cut_by_damage_counts_its_bytes() -> None:
    data = gzip.compress(b'{"text": "one"}\n{"text": "' + b"two " * 99)
    kept, cut = read(data[:-8] + bytes(8))
    assert isinstance(kept, Kept) and isinstance(cut, Failed)
    assert (cut.reason, cut.bytes) == ("bad_checksum", 10 + 4 * 99)


def test_numbers_outside_of_64_bits_are_different_ids_and_no_text() -> None:
    numbers = [b"1e999", b"1e998", b"1e-999", b"0.0", b"1" * 5000]
    lines = b"".join(b'{"text": "mill", "id": %b}\n' % number for number in numbers)
    found = list(read_all(read_json_lines(io.BytesIO(lines), "made.jsonl", JsonLinesConfig(id_field="id"))))
    assert [item.document.id for item in found if isinstance(item, Kept)] == [f"jsonl/{n.decode()}" for n in numbers]
    for number in numbers:
        (only,) = read_all(read_json_lines(io.BytesIO(b'{"text": %b}' % number), "made.jsonl", JsonLinesConfig()))
        assert isinstance(only, Failed)
        assert only.reason == "no_text"
