"""The character set of a page: the declared one, checked against the bytes."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META_WINDOW = 4096
_META = re.compile(rb"""<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*["']?\s*([\w:.-]+)""", re.IGNORECASE)
_HEADER = re.compile(r"""\bcharset\s*=\s*["']?\s*([\w:.-]+)""", re.IGNORECASE)
_LATIN = re.compile(r"ascii|cp125[02478]|iso8859-(1|2|3|4|9|10|13|14|15|16)")
_NO_TEXT = re.compile("[\ufffd\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
# On the web, these labels mean the supersets (WHATWG Encoding section 4.2). Values are Python codec names.
_SUPERSETS = {"shift_jis": "cp932", "gbk": "gb18030", "gb2312": "gb18030", "euc_kr": "cp949", "big5": "big5hkscs"}
_DEFAULT = "cp1252"
_TOLERATED_ERRORS = 0.02


@dataclass(frozen=True, slots=True)
class Decoded:
    """A page as text; `charset` is the Python codec that decoded it.

    `replaced` counts the invalid characters: inserted U+FFFD and, for charsets other than UTF-8, control characters
    too, because single-byte charsets can decode any byte.
    """

    text: str = field(repr=False)
    charset: str
    replaced: int


def decode_page(data: bytes, content_type: str | None) -> Decoded:
    """Decode a page by, in this order: byte-order mark, valid UTF-8, declared charset, detection, windows-1252.

    UTF-8 comes before any declaration: text in another encoding is almost never valid UTF-8 by chance, while wrong
    declarations are common. Servers add windows-1252 (the meaning of ISO-8859-1 on the web, WHATWG Encoding section
    4.2) by default, so the page's own declaration and a detected non-Latin script override it. Any other declaration
    holds if it can decode the bytes.
    """
    for bom, charset in _BOMS:
        if data.startswith(bom):
            return _decode(data[len(bom) :], charset)
    declared = _declared(data, content_type)
    if data.isascii():
        escaped = b"\x1b" in data and detect_encoding(data) == "iso2022_jp"
        return _decode(data, "iso2022_jp" if escaped else "utf-8")
    unicode = _decode(data, "utf-8")
    if _sound(unicode, data):
        return unicode
    detected = detect_encoding(data) or _DEFAULT
    for charset in declared:
        if charset == "utf-8" or (charset == _DEFAULT and not _LATIN.fullmatch(detected)):
            continue
        decoded = _decode(data, charset)
        if _sound(decoded, data):
            return decoded
    return _decode(data, detected if detected != "utf-8" or "utf-8" in declared else _DEFAULT)


def _declared(data: bytes, content_type: str | None) -> list[str]:
    header = _HEADER.search(content_type or "")
    meta = _META.search(data[:_META_WINDOW])
    labels = [header[1] if header else None, meta[1].decode("ascii", "replace") if meta else None]
    known = [charset for label in labels if label and (charset := map_encoding_to_html5(label, False))]
    return sorted(known, key=lambda charset: charset == _DEFAULT)


def _decode(data: bytes, charset: str) -> Decoded:
    charset = _SUPERSETS.get(charset, charset)
    text = data.decode(charset, "replace")
    return Decoded(text, charset, text.count("\ufffd") if charset == "utf-8" else len(_NO_TEXT.findall(text)))


def _sound(decoded: Decoded, data: bytes) -> bool:
    """Whether few replacements were needed relative to the non-ASCII bytes: a damaged page, not a wrong charset."""
    foreign = sum(map(len, re.findall(rb"[\x80-\xff]+", data))) if decoded.replaced else 0
    return decoded.replaced <= _TOLERATED_ERRORS * foreign
