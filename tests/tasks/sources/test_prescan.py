from __future__ import annotations

import pytest

from tasks.sources.charset import decode_page
from tasks.sources.prescan import declared_labels

GERMAN = "Der Müller fährt früh über die Brücke, und die Säcke sind schwer. Größe, Mühe und Bücher. " * 3


@pytest.mark.parametrize(
    ("page", "labels"),
    [
        ("<meta charset=koi8-r>", ["koi8-r"]),
        ("<META name=a CHARSET = ' koi8-r ' />", ["koi8-r"]),
        ("<meta http-equiv=content-type content='text/html; charset=koi8-r'>", ["koi8-r"]),
        ("<meta content='text/html; CHARSET = \"koi8-r\"' http-equiv='Content-Type'>", ["koi8-r"]),
        ("<meta content='text/html; charset=koi8-r'>", []),
        ("<meta http-equiv=refresh content='text/html; charset=koi8-r'>", []),
        ("<!-- <meta charset=koi8-r> -->", []),
        ("<!-- > <meta charset=koi8-r>", []),
        ("<!--><meta charset=koi8-r>", ["koi8-r"]),
        ("<p title='<meta charset=koi8-r>'>", []),
        ("<metal charset=koi8-r></meta charset=koi8-r>", []),
        ("<? <meta charset=koi8-r><meta charset=big5>", ["big5"]),
        ("<meta/charset=koi8-r><meta charset=big5>", ["koi8-r", "big5"]),
        ("<?xml version='1.0' encoding='koi8-r'?><p>", ["koi8-r"]),
        ("<?xml version='1.0' encoding='koi8-r'?><meta charset=big5>", ["big5", "koi8-r"]),
        ("<p>charset=koi8-r", []),
        (" " * 2_000 + "<meta charset=koi8-r>", ["koi8-r"]),
    ],
)
def test_what_a_page_declares(page: str, labels: list[str]) -> None:
    assert declared_labels(page.encode()) == labels


@pytest.mark.parametrize("label", ["utf-16", "utf-16be", "unicode", "ucs-2", "UTF-16LE"])
def test_a_meta_element_that_could_be_read_does_not_mean_utf_16(label: str) -> None:
    for page in (f"<meta charset={label}>{GERMAN}", f"<?xml version='1.0' encoding='{label}'?>{GERMAN}"):
        assert decode_page(page.encode("cp1252"), "text/html").text == page
        assert decode_page(page.encode(), "text/html").text == page


def test_utf_16_of_the_server_holds() -> None:
    page = f"<p>{GERMAN} Привет"
    assert decode_page(page.encode("utf-16-le"), "text/html; charset=utf-16").text == page
    assert decode_page(page.encode("utf-16-be"), "text/html; charset=utf-16be").text == page
    assert decode_page(page.encode(), "text/html; charset=utf-16").text == page


def test_a_meta_element_cannot_mean_x_user_defined() -> None:
    page = f"<meta charset=x-user-defined>{GERMAN}"
    assert decode_page(page.encode("cp1252"), None).text == page


@pytest.mark.parametrize("charset", ["iso-2022-kr", "hz-gb-2312", "iso-2022-cn"])
def test_charsets_that_browsers_refuse_are_no_text(charset: str) -> None:
    page = b"<p>~{<:Ky2;~} \x1b$)C text"
    assert decode_page(page, f"text/html; charset={charset}").replaced > 0
    assert decode_page(b"<p>plain", f"text/html; charset={charset}").text == "<p>plain"


@pytest.mark.parametrize("declared", ["text/html; charset=utf-8", "text/html"])
def test_utf_8_with_a_few_bad_bytes_stays_utf_8(declared: str) -> None:
    words = "The miller’s wheel turns – slowly; the café isn’t open. "
    for damage in (b"\xe2\x80", b"\xff", b"\xc3", b"\xed\xa0\x80"):
        data = (words * 3).encode() + damage + b" " + words.encode()
        decoded = decode_page(data, declared)
        assert decoded.charset == "utf-8"
        assert decoded.text.replace("\ufffd", "") == words * 3 + " " + words
        assert decoded.replaced <= len(damage)


def test_the_page_of_one_cut_character_is_utf_8_if_declared() -> None:
    data = b"<p>The miller\xe2\x80\x99s wheel turns \xe2 slowly."
    assert decode_page(data, "text/html; charset=utf-8").text == "<p>The miller’s wheel turns \ufffd slowly."


def test_what_is_declared_and_detected_as_utf_8_is_utf_8() -> None:
    page = (
        b"<p>" + b"A list of names in plain letters. " * 40 + b"einfach sch\xc3\xb6n, Syl Kouga\xef, Syl Kouga\xef</p>"
    )
    decoded = decode_page(page, "text/html; charset=utf-8")
    assert (decoded.charset, decoded.replaced) == ("utf-8", 2)


def test_only_the_start_of_a_page_is_looked_at() -> None:
    for filler in ("<", "<!--", "<meta ", "<a b='", "<meta charset =", " "):
        page = filler * (64 * 1024 // len(filler) + 1)
        assert "koi8-r" not in declared_labels(page.encode() + b"--> '><meta charset=koi8-r>")
