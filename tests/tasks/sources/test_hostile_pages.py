"""Generated bodies, headers and pages: each ends in a declared outcome, and what is well-formed is kept."""

from __future__ import annotations

import io

import hypothesis
import pytest
from hypothesis import strategies as st

from infra.outcomes import Dropped, Failed, Kept, read_all
from tasks.sources.charset import decode_page
from tasks.sources.decoders import decode
from tasks.sources.extraction import ExtractionError, Extractor, extract_page, storable
from tasks.sources.headers import http_fields, media_type, named_fields
from tasks.sources.http import Message, decode_body
from tasks.sources.prescan import declared_labels
from tasks.sources.web_archive import WebArchiveConfig, read_web_archive
from tests.tasks.sources.samples import warc_record

pytestmark = pytest.mark.heavy
SETTINGS = hypothesis.settings(max_examples=300, derandomize=True, deadline=None, database=None)
CHARSETS = ["utf-8", "utf-16-le", "euc_jp", "shift_jis", "gb18030", "big5", "euc_kr", "iso2022_jp", "cp1252", "koi8-u"]
_NAMES = "a b p div span table tr td ul li h1 br script style title template svg math select pre form xmp"
NAMES = _NAMES.split(" ")
TAG = st.builds(
    "<{}{}{}>".format,
    st.sampled_from(["", "", "/"]),
    st.sampled_from(NAMES),
    st.sampled_from(["", " class=x", " a='", ' b="', " /", " =", "\0"]),
)
ODD = st.sampled_from(
    ["<", "<!--", "-->", "--!>", "<!", "</", "&#11;", "&#xFFFF;", "&lt", "\0", "\x0b", "\ufffe", "]]>"]
)
SOUP = st.lists(st.one_of(TAG, ODD, st.text(max_size=12)), max_size=40).map("".join)
WORDS = st.text(alphabet="abcdefghij ", min_size=30, max_size=60).map(lambda text: " ".join(text.split()))
FIELD = st.sampled_from(
    ["chunked", "gzip", "br", "deflate", "identity", "text/html", "charset=", "utf-8", ",", ";", " "]
)
BYTES = st.one_of(st.binary(max_size=200), st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))


@SETTINGS
@hypothesis.given(BYTES, st.sampled_from(CHARSETS), st.lists(FIELD, max_size=6).map("".join))
def test_any_bytes_are_text_in_any_charset(data: bytes, charset: str, content_type: str) -> None:
    assert isinstance(decode(data, charset), str)
    decoded = decode_page(data, f"text/html; charset={charset} {content_type}")
    decoded.text.encode()
    assert 0 <= decoded.replaced <= len(decoded.text)
    declared_labels(data)
    media_type(content_type)
    named_fields(data)
    http_fields(data)


@SETTINGS
@hypothesis.given(st.sampled_from(CHARSETS[2:7]), st.binary(max_size=60), st.text(alphabet="abc <>&", max_size=20))
def test_what_is_behind_a_line_end_is_not_shifted(charset: str, damage: bytes, text: str) -> None:
    assert decode(damage + b"\n" + text.encode(), charset).endswith("\n" + text)


@SETTINGS
@hypothesis.given(BYTES, st.lists(FIELD, max_size=4).map(",".join), st.lists(FIELD, max_size=4).map(",".join))
def test_any_body_has_an_outcome(body: bytes, transfer: str, content: str) -> None:
    fields = {"transfer-encoding": transfer, "content-encoding": content, "content-length": str(len(body))}
    found = decode_body(Message(200, fields, body), 100)
    assert len(found.data) <= 100


@SETTINGS
@hypothesis.given(SOUP)
def test_tag_soup_is_text_or_an_extraction_error(page: str) -> None:
    for extractor in Extractor:
        try:
            found = extract_page(page, extractor)
        except ExtractionError:
            continue
        assert found.text == storable(found.text)
        found.text.encode()


@SETTINGS
@hypothesis.given(st.lists(WORDS.filter(lambda text: len(text) > 20), min_size=5, max_size=8, unique=True), st.data())
def test_every_paragraph_of_a_well_formed_page_is_kept(texts: list[str], data: st.DataObject) -> None:
    wrap = st.sampled_from(["{}", "<div>{}</div>", "<section>{}</section>", "<article>{}</article>", "{}<!-- x -->"])
    paragraphs = [
        data.draw(wrap).format(f"<p>Paragraph {number} tells of the mill: {text}.</p>")
        for number, text in enumerate(texts)
    ]
    page = "<!doctype html><html><head><title>t</title></head><body>" + "".join(paragraphs) + "</body></html>"
    found = extract_page(page, Extractor.trafilatura).text
    assert [text for text in texts if text not in found] == []


@SETTINGS
@hypothesis.given(BYTES, st.lists(FIELD, max_size=4).map("".join), SOUP)
def test_every_record_has_one_outcome(head: bytes, content_type: str, page: str) -> None:
    header = b"HTTP/1.1 200 OK\r\nContent-Type: " + content_type.encode() + b"\r\n" + head + b"\r\n\r\n"
    record = warc_record(header + page.encode("utf-8", "replace"))
    outcomes = list(read_all(read_web_archive(io.BytesIO(record), "made.warc", WebArchiveConfig(source="mill"))))
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Kept | Dropped | Failed)
