"""MediaWiki dumps: real ones against other readers of them, and dumps that are broken in every way."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast
from xml.etree import ElementTree

import pytest

from infra.outcomes import Kept, Outcome, Record, read_all
from tasks.sources.wikipedia import WikipediaConfig, read_wikipedia
from tasks.wikitext.nesting import MOST_NESTED
from tests.tasks.sources.dumps import COMPRESSIONS, Repeated, counts, failures, kept, peak_of

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
END = "</mediawiki>\n"
PAGE = """<page>
    <title>{title}</title>
    <ns>{ns}</ns>
    <id>{number}</id>{more}
    <revision>
      <id>{revision}</id>
      <timestamp>2022-07-01T12:00:00Z</timestamp>
      <contributor><username>A</username><id>7</id></contributor>
      <model>{model}</model>
      <format>text/x-wiki</format>
      <text bytes="9" xml:space="preserve"{deleted}>{text}</text>
      <sha1>x</sha1>
    </revision>
  </page>
"""


def page(number: int, text: str = "Eine Mühle.", title: str = "", ns: object = 0, more: str = "", **other: str) -> str:
    values = {"revision": "9", "model": "wikitext", "deleted": ""} | other
    return PAGE.format(number=number, text=text, title=title or f"Mühle {number}", ns=ns, more=more, **values)


def dump(*pages: str, head: str = HEAD, end: str = END) -> bytes:
    return (head + "".join(pages) + end).encode()


def read(data: bytes, **config: object) -> list[Outcome]:
    return list(read_all(read_wikipedia(io.BytesIO(data), "x.xml", WikipediaConfig.model_validate(config))))


def numbers(outcomes: list[Outcome]) -> list[int]:
    return [document.metadata["page"] for document in kept(outcomes)]


# What mwxml 0.3.8 (and gensim 4's `extract_pages`, for the dump without a head) reads: pages of namespace 0 that are
# no redirects, and the sha256 of their numbers, joined by spaces.
SAMPLES = {
    "enwiki-pages-articles-sample": (64, 54, "866df5a8bc629a71ed2b750dc8932a2aa0f18995b0a6842aced4ae6e01f9ab88"),
    "enwiki-table-markup": (5, 0, "484f9086e699b80c0f0d986d8ff5f4b8e983ec7c6178b0ec7191046f32b39ad6"),
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_pages_are_those_of_other_readers(shared_data: Path, name: str) -> None:
    data = (shared_data / "wikipedia" / f"{name}.xml.bz2").read_bytes()
    outcomes = read(data)
    found = numbers(outcomes)
    pages, redirects, digest = SAMPLES[name]
    assert counts(outcomes) == {"kept": pages} | ({"redirect": redirects} if redirects else {})
    assert hashlib.sha256(" ".join(map(str, found)).encode()).hexdigest() == digest
    assert found == list(_with_a_tree(data))
    for document in kept(outcomes):
        assert not any(sign in document.text for sign in ("[[", "{{", "<ref", "\n{|", "\n|-"))
        assert len(document.text) > 100


def _with_a_tree(data: bytes) -> Iterator[int]:
    for _, element in ElementTree.iterparse(io.BytesIO(bz2.decompress(data))):
        if element.tag.endswith("}page"):
            space = element.tag.removesuffix("page")
            if element.find(f"{space}redirect") is None and element.findtext(f"{space}ns") == "0":
                yield int(element.findtext(f"{space}id") or "")


def test_a_page_becomes_a_document() -> None:
    [outcome] = read(dump(page(7, "'''Mühle''' &amp;amp; [[Rad]]&lt;ref&gt;x&lt;/ref&gt; [[Datei:A]]", "A &amp; B")))
    assert isinstance(outcome, Kept)
    document = outcome.document
    assert (document.id, document.text, document.source) == ("wikipedia/dewiki/7", "Mühle & Rad", "wikipedia")
    assert (document.url, document.date) == ("https://de.wikipedia.org/wiki/A_%26_B", "2022-07-01T12:00:00Z")
    assert document.licence == "CC BY-SA 4.0"
    assert document.metadata == {
        "title": "A & B",
        "page": 7,
        "revision": 9,
        "wiki": "dewiki",
        "language": "de",
        "offset": len(HEAD.encode()),
        "unclosed": 0,
    }
    assert outcome.bytes == len(
        dump(
            page(7, "'''Mühle''' &amp;amp; [[Rad]]&lt;ref&gt;x&lt;/ref&gt; [[Datei:A]]", "A &amp; B"), head="", end=""
        ).rstrip()
    )


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_dumps_are_read_in_every_compression(compression: str) -> None:
    data = COMPRESSIONS[compression](dump(*map(page, range(1, 40))))
    assert numbers(read(data)) == list(range(1, 40))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
def test_dumps_are_read_in_every_encoding(encoding: str) -> None:
    declared = (
        f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig").removesuffix("-le").removesuffix("-be")}"?>'
    )
    for head in (declared + HEAD, *([] if "8859" in encoding else [HEAD])):
        outcomes = read(dump(page(1), page(2), head=head).decode().encode(encoding))
        assert [document.text for document in kept(outcomes)] == ["Eine Mühle."] * 2
        assert [document.metadata["title"] for document in kept(outcomes)] == ["Mühle 1", "Mühle 2"]


def test_what_is_no_article_is_dropped_for_a_reason() -> None:
    outcomes = read(
        dump(
            page(1, "#WEITERLEITUNG [[Mühle]]", more='\n    <redirect title="Mühle" />'),
            page(3, ns=1, title="Diskussion:Mühle"),
            page(4, "return 1", model="Scribunto"),
            page(5, "", deleted=' deleted="deleted"'),
            page(6, "{{Vorlage}}"),
            page(7, "kurz"),
            page(8, "lang genug", ns=""),
            page(9, "lang genug", ns="", title="Diskussion:Mühle"),
        ),
        min_characters=5,
    )
    assert counts(outcomes) == {
        "redirect": 1,
        "other_namespace": 2,
        "not_wikitext": 1,
        "deleted_text": 1,
        "empty_text": 1,
        "short_text": 1,
        "kept": 1,
    }
    assert numbers(outcomes) == [8]


@pytest.mark.parametrize("word", ["#REDIRECT", "#redirect:", "#ПЕРЕНАПРАВЛЕНИЕ", "#WEITERLEITUNG"])
def test_redirects_of_old_dumps_are_known_by_their_text(word: str) -> None:
    """Since version 0.4 of the schema, a page that is not marked is none: MediaWiki shows its text."""
    pages = page(1, f"{word} [[Mühle]]"), page(2, "#Mühle [[Rad]] und mehr")
    assert counts(read(dump(*pages))) == {"kept": 2}
    for version in ("0.1", "0.3"):
        outcomes = read(dump(*pages, head=HEAD.replace('version="0.11"', f'version="{version}"')))
        assert counts(outcomes)["redirect"] >= 1


def test_of_several_revisions_the_last_is_read() -> None:
    second = "<revision><id>10</id><timestamp>2022-08-01T00:00:00Z</timestamp><text>neu</text></revision>\n  </page>"
    [document] = kept(read(dump(page(1, "alt").replace("</page>", second))))
    assert (document.text, document.metadata["revision"], document.date) == ("neu", 10, "2022-08-01T00:00:00Z")


BOMB = "".join(f'<!ENTITY b{n} "&b{n - 1};&b{n - 1};&b{n - 1};&b{n - 1};&b{n - 1};&b{n - 1};">' for n in range(1, 40))
BAD_PAGES = {
    "unclosed element": (page(2).replace("</title>", ""), "broken_xml"),
    "unescaped markup": (page(2, "a < b & c"), "broken_xml"),
    "undefined entity": (page(2, "&b9;"), "broken_xml"),
    "control character": (page(2, "a\x01b"), "broken_xml"),
    "document type": (page(2).replace("<title>", f"<!DOCTYPE a [<!ENTITY b0 'x'>{BOMB}]><title>"), "broken_xml"),
    "deep elements": (page(2, "<a>" * 20_000), "broken_xml"),
    "missing end tag": (page(2).replace("</page>", ""), "broken_xml"),
    "no number": (page(2).replace("<id>2</id>", "", 1), "bad_id"),
    "a number that is none": (page(2).replace("<id>2</id>", "<id>../2</id>", 1), "bad_id"),
    "nested templates": (page(2, "{{a|" * 10_000), "too_nested"),
    "too large": (page(2, "a" * 70_000), "too_large"),
}


@pytest.mark.parametrize("name", sorted(BAD_PAGES))
def test_a_bad_page_fails_alone(name: str) -> None:
    bad, reason = BAD_PAGES[name]
    outcomes = read(dump(page(1), bad, page(3)), max_page_bytes=1 << 16)
    assert counts(outcomes) == {"kept": 2, reason: 1}
    assert numbers(outcomes) == [1, 3]
    [(_, offset)] = failures(outcomes)
    start = len(dump(page(1), end=""))
    assert start <= (offset or 0) <= start + len(bad.encode())


def test_a_page_that_is_not_utf_8_fails_alone() -> None:
    parts = [dump(page(1), end=""), page(2).encode("iso-8859-1"), dump(page(3), head="")]
    outcomes = read(b"".join(parts))
    assert numbers(outcomes) == [1, 3]
    assert failures(outcomes) == [("not_utf8", len(parts[0]) + parts[1].index(b"\xfc"))]


def test_entities_of_a_document_type_are_not_read() -> None:
    head = f"<!DOCTYPE mediawiki [<!ENTITY b0 'x'>{BOMB}<!ENTITY f SYSTEM 'file:///etc/passwd'>]>{HEAD}"
    outcomes = read(dump(page(1, "&b39;"), page(2, "&f;"), page(3), head=head))
    assert counts(outcomes) == {"document_type": 1, "broken_xml": 2, "kept": 1}


@pytest.mark.parametrize("cut", [1, 40, len(END) + 1, len(END) + 300, 700])
def test_a_dump_that_is_cut_keeps_what_lies_before_the_end(cut: int) -> None:
    whole = dump(*map(page, range(1, 9)))
    outcomes = read(whole[: len(whole) - cut])
    assert [reason for reason, _ in failures(outcomes)] == ([] if cut == 1 else ["truncated"])
    assert numbers(outcomes) == list(range(1, len(kept(outcomes)) + 1))
    assert len(kept(outcomes)) >= 6


@pytest.mark.parametrize("compression", sorted(set(COMPRESSIONS) - {"plain"}))
def test_an_archive_that_is_cut_keeps_what_lies_before_the_end(compression: str) -> None:
    texts = [f"{hashlib.sha256(str(number).encode()).hexdigest()} " * 20 for number in range(1_500)]
    data = COMPRESSIONS[compression](dump(*(page(number, text) for number, text in enumerate(texts, 1))))
    outcomes = read(data[: len(data) * 3 // 4])
    assert [reason for reason, _ in failures(outcomes)] == ["truncated"]
    found = numbers(outcomes)
    assert found == list(range(1, len(found) + 1))
    assert len(found) > 300 or compression == "lz4"  # whose only block is damaged


def test_behind_a_damaged_stream_of_a_multistream_dump_the_next_is_read() -> None:
    """As Wikimedia writes them: the head, a hundred pages and the end in streams of their own."""
    parts = [HEAD.encode(), *(dump(page(n), page(n + 1), head="", end="") for n in range(1, 9, 2)), END.encode()]
    streams = [bz2.compress(part) for part in parts]
    middle = len(streams[2]) // 2
    streams[2] = streams[2][:middle] + bytes(9) + streams[2][middle + 9 :]
    outcomes = read(b"".join(streams))
    assert numbers(outcomes) == [1, 2, 5, 6, 7, 8]
    assert failures(outcomes) == [("corrupt_member", len(streams[0]) + len(streams[1]))]
    assert {document.metadata["wiki"] for document in kept(outcomes)} == {"dewiki"}


def test_text_between_pages_is_a_fault() -> None:
    lost = page(2).replace("<page>", "<pagf>")
    outcomes = read(dump(page(1), lost, "<logitem><id>1</id></logitem><!-- a -->", page(3)))
    assert numbers(outcomes) == [1, 3]
    assert [reason for reason, _ in failures(outcomes)] == ["broken_xml"]


@pytest.mark.parametrize("data", [b"", b"a" * 99, b"<html><body>page</body></html>", bytes(5000), b"\xff\xfe"])
def test_what_is_no_dump_is_a_failure(data: bytes) -> None:
    assert counts(read(data)) == {"not_a_dump": 1}


def test_an_empty_dump_is_none() -> None:
    assert read(dump()) == []


def test_a_part_of_a_dump_without_its_root_is_read() -> None:
    assert numbers(read(dump(page(1), page(2), head="", end=""))) == [1, 2]


@pytest.mark.parametrize(
    ("compression", "times"),
    [("plain", 32), ("gzip", 32), *(pytest.param(name, 200, marks=pytest.mark.heavy) for name in ("plain", "gzip"))],
)
def test_memory_is_bounded_whatever_a_page_holds(compression: str, times: int) -> None:
    """A page of one line of that many MiB."""
    before, after = page(2, "|").split("|")
    start, end = dump(page(1), before, end=""), dump(after, page(3), head="")
    filling = b"x" * (1 << 20)
    if compression == "plain":
        stream = cast(BinaryIO, Repeated(start, filling, times, end))
    else:
        inner = gzip.compress(filling)
        stream = cast(BinaryIO, Repeated(gzip.compress(start), inner, times, gzip.compress(end)))
    outcomes, peak = peak_of(read_wikipedia(stream, "x.xml", WikipediaConfig(max_page_bytes=1 << 20)))
    assert counts(outcomes) == {"kept": 2, "too_large": 1}
    assert max(outcome.bytes for outcome in outcomes) > times << 20
    assert peak < 16 << 20


def test_pages_are_records_with_their_bytes_and_offsets() -> None:
    data = dump(page(1), page(2))
    records = [
        item for item in read_wikipedia(io.BytesIO(data), "x.xml", WikipediaConfig()) if isinstance(item, Record)
    ]
    assert [data[item.offset : item.offset + len(item.data)] for item in records] == [item.data for item in records]
    assert [item.data.startswith(b"<page>") and item.data.endswith(b"</page>") for item in records] == [True, True]


def test_nested_markup_within_the_limit_is_read() -> None:
    deep = MOST_NESTED - 1
    [document] = kept(read(dump(page(1, "{{a|" * deep + "}}" * deep + "Eine Mühle."))))
    assert document.text == "Eine Mühle."
