from __future__ import annotations

import tarfile
import tracemalloc
from pathlib import Path

import pytest

from tasks.sources.charset import decode_page

PAGE = "<html><head><meta charset='%s'></head><body>%s</body></html>"
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах. " * 10
JAPANESE = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。" * 10
FRENCH = (
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. Le cœur a ses raisons – « oui » . " * 5
)
# Files of the Declaration whose encoding is certain from their names, and the codec that reads them.
LEGACY = {
    "Belorus_Belaruski-Cyrillic": "cp1251",
    "Kazakh-Cyrillic": "cp1251",
    "Chinese_Mandarin-GB2312": "gb18030",
    "Japanese_Nihongo-SJIS": "cp932",
    "Japanese_Nihongo-EUC": "euc_jp",
    "Japanese_Nihongo-JIS": "iso2022_jp",
    "Greek_Ellinika-Greek": "iso8859-7",
    "Hebrew_Ivrit-Hebrew": "cp1255",
    "Turkish_Turkce-Turkish": "cp1254",
    "Italian_Italiano-Latin1": "cp1252",
    "Spanish_Espanol-Latin1": "cp1252",
}


@pytest.fixture(scope="module")
def declaration(shared_data: Path) -> dict[str, bytes]:
    """The files of the Universal Declaration of Human Rights in legacy encodings."""
    found = {}
    with tarfile.open(shared_data / "language-id" / "udhr" / "udhr-legacy-encodings.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                found[member.name.removeprefix("udhr/")] = file.read()
    return found


def test_byte_order_marks_come_first() -> None:
    assert decode_page(b"\xef\xbb\xbf<p>caf\xc3\xa9", "text/html; charset=iso-8859-1").text == "<p>café"
    for codec in ("utf-16-le", "utf-16-be"):
        decoded = decode_page(("\ufeff<p>" + RUSSIAN).encode(codec), "text/html; charset=utf-8")
        assert (decoded.text, decoded.charset) == ("<p>" + RUSSIAN, codec)


@pytest.mark.parametrize("lie", ["iso-8859-1", "windows-1251", "gb2312", "shift_jis", "us-ascii", "bogus"])
def test_valid_utf_8_is_utf_8_whatever_is_declared(lie: str) -> None:
    page = PAGE % (lie, RUSSIAN + FRENCH)
    decoded = decode_page(page.encode(), f"text/html; charset={lie}")
    assert (decoded.text, decoded.charset, decoded.replaced) == (page, "utf-8", 0)


@pytest.mark.parametrize(
    ("text", "label", "codec"),
    [
        (RUSSIAN, "windows-1251", "cp1251"),
        (RUSSIAN, "KOI8-R", "koi8_r"),
        (JAPANESE, "Shift_JIS", "cp932"),
        (JAPANESE, "EUC-JP", "euc_jp"),
        (JAPANESE, "ISO-2022-JP", "iso2022_jp"),
        (FRENCH, "ISO-8859-1", "cp1252"),
        (FRENCH, "windows-1252", "cp1252"),
    ],
)
def test_true_declarations_in_header_or_page(text: str, label: str, codec: str) -> None:
    page = PAGE % (label, text)
    bare = page.replace(f"<meta charset='{label}'>", "")
    assert decode_page(page.encode(codec), "text/html").text == page
    assert decode_page(bare.encode(codec), f'text/html; charset="{label}"').text == bare
    # A server's unasked-for Latin-1 gives way to what the page says of itself.
    assert decode_page(page.encode(codec), "text/html; charset=ISO-8859-1").text == page


@pytest.mark.parametrize("lie", ["utf-8", "iso-8859-1", "bogus"])
@pytest.mark.parametrize(
    ("text", "codec"),
    [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8_r"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp"), (FRENCH, "cp1252")],
)
def test_charset_lies_are_found_out(text: str, codec: str, lie: str) -> None:
    page = PAGE % (lie, text)
    decoded = decode_page(page.encode(codec), f"text/html; charset={lie}")
    assert decoded.text == page
    assert decoded.replaced == 0


@pytest.mark.parametrize("name", LEGACY)
def test_real_texts_in_legacy_encodings_are_detected(declaration: dict[str, bytes], name: str) -> None:
    data = declaration[name]
    decoded = decode_page(b"<html><body>" + data, "text/html; charset=utf-8")
    expected = data.decode(LEGACY[name], "replace")
    same = sum(a == b for a, b in zip(decoded.text[12:], expected))
    assert len(decoded.text) == len(expected) + 12
    assert same / len(expected) > 0.999, decoded.charset


def test_named_encodings_of_the_declaration_hold(declaration: dict[str, bytes]) -> None:
    """Labelled Latin-1 files read as they are labelled, though detection alone takes some for other charsets."""
    latin = [name for name in declaration if name.endswith("-Latin1") and not _is_utf_8(declaration[name])]
    assert len(latin) == 87
    wrong = [
        name
        for name in latin
        if decode_page(declaration[name], "text/html; charset=iso-8859-1").text
        != declaration[name].decode("cp1252", "replace")
    ]
    assert wrong == []


def test_a_cut_or_slightly_damaged_utf_8_page_stays_utf_8() -> None:
    data = (PAGE % ("utf-8", RUSSIAN)).encode()
    cut = data[: data.rindex("п".encode()) + 1]
    assert decode_page(cut, None).charset == "utf-8"
    assert decode_page(cut, None).replaced == 1
    damaged = data.replace("л".encode(), b"\xd0", 1)
    assert decode_page(damaged, "text/html; charset=windows-1251").charset == "utf-8"


def test_bytes_that_are_no_text_show_in_the_count() -> None:
    noise = bytes(range(256)) * 20
    decoded = decode_page(noise, "text/html")
    assert decoded.replaced > 0.1 * len(decoded.text)


@pytest.mark.parametrize(
    ("data", "utf_8"),
    [
        (b"<p>plain", b"<p>plain"),
        ("<p>été".encode(), "<p>été".encode()),
        ("\ufeff<p>été".encode(), "<p>été".encode()),
        ("\ufeff<p>été".encode("utf-16-le"), None),
        ("<p>été".encode("latin-1"), None),
        (b"<p>" + "л".encode() * 100 + b"\xd0", None),
    ],
)
def test_bytes_in_utf_8_are_given_only_where_they_are_the_text(data: bytes, utf_8: bytes | None) -> None:
    decoded = decode_page(data, "text/html")
    assert decoded.utf_8 == utf_8
    assert utf_8 is None or decoded.text.encode() == utf_8


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("declared", ["utf-8", "iso-8859-1"])
def test_counting_characters_takes_no_memory_for_each(declared: str) -> None:
    data = ("水" * 300_000 if declared == "utf-8" else "a水" * 300_000).encode() + b"\xff"
    tracemalloc.start()
    decode_page(data, f"text/html; charset={declared}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(data)
