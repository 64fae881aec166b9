"""Stack Exchange dumps: threads of a real site, and dumps and archives that are broken in every way."""

from __future__ import annotations

import gzip
import io
import re
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from infra.outcomes import Kept, Outcome, Record, Underway, read_all
from tasks.sources import xml_items
from tasks.sources.stack_exchange import StackExchangeConfig, read_stack_exchange
from tests.tasks.sources.dumps import COMPRESSIONS, Repeated, counts, failures, kept, peak_of
from tests.tasks.sources.seven_zip_samples import SAMPLES, packed

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
END = "</posts>\n"
SITE = "mill.stackexchange.com"


def row(number: int, **fields: object) -> str:
    """A post: a question, unless `fields` say otherwise."""
    values = {"Id": number, "PostTypeId": 1, "Score": 1, "Body": f"<p>body {number}</p>", "Title": f"title {number}"}
    if fields.get("ParentId") is not None:
        values |= {"PostTypeId": 2, "Title": None}
    values |= fields
    return "  <row " + " ".join(f'{key}="{escape(str(v))}"' for key, v in values.items() if v is not None) + " />\n"


def dump(*rows: str, end: str = END) -> bytes:
    return (HEAD + "".join(rows) + end).encode()


def read(data: bytes, name: str = f"{SITE}.xml", **config: object) -> list[Outcome]:
    found = read_stack_exchange(io.BytesIO(data), name, StackExchangeConfig.model_validate(config))
    return list(read_all(found))


def questions(outcomes: list[Outcome]) -> list[int]:
    return [document.metadata["question"] for document in kept(outcomes)]


def test_the_sample_has_133_questions_with_answers_by_number(shared_data: Path) -> None:
    data = (shared_data / "stackexchange" / "Posts.xml.gz").read_bytes()
    outcomes = read(data, "coffee.stackexchange.com.xml.gz")
    assert counts(outcomes) == {"kept": 133, "other_post": 26}
    scores = defaultdict(list)
    for parent, score in re.findall(rb'ParentId="(\d+)"[^>]*? Score="(-?\d+)"', gzip.decompress(data)):
        scores[int(parent)].append(int(score))
    found = {doc.metadata["question"]: [*map(int, doc.metadata["scores"].split())] for doc in kept(outcomes)}
    assert {number: values for number, values in found.items() if values} == {
        number: sorted(values, reverse=True) for number, values in scores.items()
    }
    # A sort of strings would misorder ten of the 45 threads with several answers.
    several = [values for values in found.values() if len(values) > 1]
    assert len(several) == 45
    assert sum(values != [*map(int, sorted(map(str, values), reverse=True))] for values in several) == 10
    assert sum(document.text.count("\n\nA: ") for document in kept(outcomes)) >= 188
    assert not any(re.search(r"</?(?:p|li|em|strong|a)[ >]|&lt;|&amp;", document.text) for document in kept(outcomes))


def test_a_thread_becomes_a_document() -> None:
    outcomes = read(
        dump(
            row(9, ParentId=3, Score=9, CreationDate="2019-01-01T00:00:00.000"),
            row(3, Title="Which  wheel?", Tags="<wheel><mill>", CreationDate="2012-05-06T07:08:09.100", Score=-2),
            row(4, ParentId=3, Score=85, Body="<pre><code>a  b\n</code></pre>", CreationDate="2012-06-01T00:00:00.000"),
            row(5, ParentId=3, Score=100, CreationDate="2012-06-01T00:00:00.000"),
            row(6, ParentId=3, Score=-1, ContentLicense="CC BY-SA 4.0"),
            row(7, ParentId=3, Score=9, Body=""),
            row(8, ParentId=3, Score=9, ContentLicense="CC BY-SA 3.0"),
        )
    )
    [outcome] = outcomes
    assert isinstance(outcome, Kept)
    document = outcome.document
    assert document.text == ("Q: Which wheel?\n\nbody 3\n\nA: body 5\n\nA: a  b\n\nA: body 8\n\nA: body 9\n\nA: body 6")
    assert (document.id, document.url) == (f"stack_exchange/{SITE}/3", f"https://{SITE}/questions/3")
    assert (document.date, document.licence) == (
        "2012-05-06T07:08:09.100",
        "CC BY-SA 2.5 and CC BY-SA 3.0 and CC BY-SA 4.0",
    )
    assert document.metadata == {
        "title": "Which wheel?",
        "site": SITE,
        "question": 3,
        "score": -2,
        "answers": 5,
        "empty_answers": 1,
        "scores": "100 85 9 9 9 -1",
        "tags": "wheel mill",
        "offset": document.metadata["offset"],
    }


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("coffee.stackexchange.com.7z", {}, "stack_exchange/coffee.stackexchange.com/1"),
        ("stackoverflow.com-Posts.7z", {}, "stack_exchange/stackoverflow.com/1"),
        ("Posts.7z", {}, "stack_exchange/1"),
        ("Posts.7z", {"site": "askubuntu.com", "source": "se"}, "se/askubuntu.com/1"),
    ],
)
def test_the_site_is_known_by_the_name_of_the_archive(name: str, config: dict[str, object], expected: str) -> None:
    outcomes = read(SAMPLES["bzip2"], name, **config)
    assert counts(outcomes) == {"other_table": 1, "kept": 1}
    [document] = kept(outcomes)
    assert (document.id, document.text) == (expected, "Q: T\n\nB\n\nA: A")


def test_an_archive_of_several_sites_is_read_by_its_folders() -> None:
    data = packed(**{"coffee.stackexchange.com__Posts": dump(row(1)), "askubuntu.com__Posts": dump(row(1))})
    assert [document.id for document in kept(read(data, "all.7z"))] == [
        "stack_exchange/coffee.stackexchange.com/1",
        "stack_exchange/askubuntu.com/1",
    ]


def test_names_in_archives_are_never_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = packed(**{"..__..__evil": b"x", "__tmp__Posts": dump(row(1)), "..__Posts": dump(row(2))})
    assert questions(read(data, "x.7z")) == [1, 2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_dumps_are_read_in_every_compression(compression: str) -> None:
    rows = [text for number in range(1, 90, 2) for text in (row(number), row(number + 1, ParentId=number))]
    assert questions(read(COMPRESSIONS[compression](dump(*rows)))) == list(range(1, 90, 2))


def test_posts_in_no_thread_are_dropped_for_a_reason() -> None:
    data = dump(
        row(1),
        row(2, ParentId=77),
        row(3, PostTypeId=5),
        row(4, DeletionDate="2020-01-01"),
        row(1, Title="again"),
        row(5, ParentId=1),
        row(5, ParentId=1, Score=7),
        row(6, Title=None, Body="<p> </p>"),
        row(7, Title="t", Body=""),
    )
    outcomes = read(data, min_characters=6)
    assert counts(outcomes) == {
        "kept": 1,
        "no_question": 1,
        "other_post": 1,
        "deleted": 1,
        "duplicate_post": 2,
        "empty_text": 1,
        "short_text": 1,
    }
    assert sum(outcome.bytes for outcome in outcomes) == len(data) - len(HEAD) - len(END) - 2


BAD_ROWS = {
    "no quotes": ("  <row Id=2 />\n", "broken_xml"),
    "an undefined entity": (row(2).replace("body 2", "&b0;"), "broken_xml"),
    "an attribute twice": (row(2).replace("Score", "Id"), "broken_xml"),
    "no end": (row(2).replace(" />", ""), "broken_xml"),
    "no number": (row(2, Id=None), "bad_id"),
    "a number that is none": (row(2, Id="../2"), "bad_id"),
    "a number that is too large": (row(2, Id="9" * 30), "bad_id"),
    "no type": (row(2, PostTypeId=None), "bad_type"),
    "an answer to nothing": (row(2, PostTypeId=2), "bad_parent"),
    "a score that is none": (row(2, Score="high"), "bad_score"),
    "too large": (row(2, Body="x" * 70_000), "too_large"),
    "markup without end": (row(2, Body="<b>" * 6_000), "extractor_error"),
}


@pytest.mark.parametrize("name", sorted(BAD_ROWS))
def test_a_bad_row_fails_alone(name: str) -> None:
    bad, reason = BAD_ROWS[name]
    outcomes = read(dump(row(1), bad, row(3)), max_thread_bytes=1 << 16)
    assert counts(outcomes) == {"kept": 2, reason: 1}
    assert questions(outcomes) == [1, 3]
    [(_, offset)] = failures(outcomes)
    start = len(dump(row(1), end=""))
    assert start <= (offset or 0) <= start + len(bad)


def test_a_row_that_is_not_utf_8_fails_alone() -> None:
    outcomes = read(dump(row(1)).replace(END.encode(), row(2, Title="Mühle").encode("latin-1")) + row(3).encode())
    assert questions(outcomes) == [1, 3]
    assert [reason for reason, _ in failures(outcomes)] == ["not_utf8", "truncated"]


def test_references_to_characters_that_xml_forbids_are_left_out() -> None:
    [document] = kept(read(dump(row(1, Body="a b").replace("a b", "a&#x1F;&#0;&#xD800; &#x41;&#66;"))))
    assert document.text == "Q: title 1\n\na AB"


def test_entities_are_not_expanded() -> None:
    bomb = '<!DOCTYPE posts [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>\n<posts>'
    data = dump(row(1).replace("body", "&b;"), row(2).replace("body", "&c;"), row(3)).decode().replace("<posts>", bomb)
    assert counts(read(data.encode())) == {"document_type": 1, "broken_xml": 2, "kept": 1}


@pytest.mark.parametrize("cut", [1, 5, len(END) + 1, len(END) + 40, 300])
def test_a_dump_that_is_cut_keeps_what_lies_before_the_end(cut: int) -> None:
    whole = dump(*map(row, range(1, 9)))
    outcomes = read(whole[: len(whole) - cut])
    assert [reason for reason, _ in failures(outcomes)] == ([] if cut == 1 else ["truncated"])
    assert questions(outcomes) == list(range(1, len(kept(outcomes)) + 1))
    assert len(kept(outcomes)) >= 4


@pytest.mark.parametrize("data", [b"", b"posts", b"<html></html>", bytes(99)])
def test_what_is_no_dump_is_a_failure(data: bytes) -> None:
    assert counts(read(data)) == {"not_a_dump": 1}


def test_archives_without_posts_and_bombs_are_failures() -> None:
    assert counts(read(packed(Users=b"<users />"), "x.7z")) == {"other_table": 1, "not_a_dump": 1}
    assert counts(read(SAMPLES["encrypted"], "x.7z")) == {"encrypted": 1}
    assert counts(read(SAMPLES["bzip2"][:-9], "x.7z")) == {"truncated": 1}


def test_an_answer_may_come_long_after_its_question() -> None:
    filling = [row(number) for number in range(10, 400)]
    outcomes = read(dump(row(2, ParentId=1), row(1), *filling, row(3, ParentId=1, Score=5)))
    assert kept(outcomes)[0].text == "Q: title 1\n\nbody 1\n\nA: body 3\n\nA: body 2"


@pytest.mark.parametrize("times", [500, pytest.param(30_000, marks=pytest.mark.heavy)])
def test_memory_is_bounded_whatever_lies_between(times: int) -> None:
    """Answers without a question, and a thread of which most is not held."""
    piece = (row(5, ParentId=99) + row(6, ParentId=1, Body="x" * 500)).encode()
    stream = cast(BinaryIO, Repeated(dump(row(1), end=""), piece, times, (row(2) + END).encode()))
    config = StackExchangeConfig(max_thread_bytes=1 << 16)
    outcomes, peak = peak_of(read_stack_exchange(stream, "x.xml", config))
    assert counts(outcomes) == {"no_question": times, "duplicate_post": times - 1, "kept": 2}
    assert peak < 96 << 20


def test_a_thread_that_is_too_large_is_one_failure() -> None:
    answers = [row(number, ParentId=1, Body="x" * 500) for number in range(2, 200)]
    outcomes = read(dump(row(1), *answers, row(900)), max_thread_bytes=1 << 16)
    assert counts(outcomes) == {"too_large": 1, "kept": 1}
    assert max(outcome.bytes for outcome in outcomes) > 198 * 500


def test_a_line_of_any_length_takes_no_memory() -> None:
    start = (HEAD + row(1) + '<row Id="2" Body="').encode()
    stream = cast(BinaryIO, Repeated(start, b"x" * (1 << 20), 48, b'" />\n' + row(3).encode() + END.encode()))
    outcomes, peak = peak_of(read_stack_exchange(stream, "x.xml", StackExchangeConfig(max_thread_bytes=1 << 20)))
    assert counts(outcomes) == {"too_large": 1, "kept": 2}
    assert peak < 16 << 20


def test_the_reader_is_under_way_while_it_puts_rows_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_items, "BETWEEN_PAUSES", 1 << 12)
    data = dump(*map(row, range(1, 500)))
    found = list(read_stack_exchange(io.BytesIO(data), "x.xml", StackExchangeConfig()))
    assert sum(isinstance(item, Underway) for item in found) > 1
    records = [item for item in found if isinstance(item, Record)]
    assert len(records) == 499
    assert all(data[item.offset :].startswith(item.data) for item in records)
