"""The character set of a page: the declared one, checked against the bytes."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from tasks.sources.decoders import decode
from tasks.sources.headers import media_type
from tasks.sources.prescan import declared_labels

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LATIN = re.compile(r"ascii|cp125[02478]|iso8859-(1|2|3|4|9|10|13|14|15|16)")
_NO_TEXT = re.compile("[\ufffd\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_UTF_16 = ("utf-16-le", "utf-16-be")
_DEFAULT = "cp1252"
_NOT_ASCII = bytes(range(0x80, 0x100))
_ENOUGH = 10  # non-ASCII bytes, for one invalid character among them to be damage
_TOLERATED_ERRORS = 0.02
# Labels that Resiliparse does not know (WHATWG Encoding section 4.2).
_MORE_LABELS = {
    "x-mac-cyrillic": "mac-cyrillic",
    "x-mac-ukrainian": "mac-cyrillic",
    "x-user-defined": "x-user-defined",
} | dict.fromkeys(
    ("csiso2022kr", "hz-gb-2312", "iso-2022-cn", "iso-2022-cn-ext", "iso-2022-kr", "replacement"), "replacement"
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A page as text; `charset` is the name that Python has for its charset.

    `replaced` counts the invalid characters: inserted U+FFFD and, for charsets other than UTF-8, control characters
    too, because single-byte charsets can decode any byte. `utf_8` are the page's own bytes where they are the text in
    UTF-8; encoding a page again would cost as much as checking its markup.
    """

    text: str = field(repr=False)
    charset: str
    replaced: int
    utf_8: bytes | None = field(repr=False)


def decode_page(data: bytes, content_type: str | None) -> Decoded:
    """Decode a page by, in this order: byte-order mark, valid UTF-8, declared charset, detection, windows-1252.

    UTF-8 comes before any declaration: text in another encoding is almost never valid UTF-8 by chance, while wrong
    declarations are common. Some invalid bytes are damage, not another encoding: at most as many as there are valid
    sequences if UTF-8 is declared, a quarter of that if nothing is, and 2 % of the bytes if something else is.

    Declarations are the HTTP one and then the page's own, with labels as in browsers (WHATWG Encoding section 4.2).
    Servers add windows-1252 (the meaning of ISO-8859-1 there) by default, so the page's own declaration and a detected
    non-Latin script override it. Any other declaration holds if it can decode the bytes.
    """
    for bom, charset in _BOMS:
        if data.startswith(bom):
            return _decode(data[len(bom) :], charset)
    sent = _charset(media_type(content_type or "")[1])
    if sent in _UTF_16 and b"\0" in data:
        return _decode(data, sent)
    if data.isascii() and b"\x1b" not in data and b"~{" not in data:
        return _decode(data, "utf-8")
    unicode = _decode(data, "utf-8")
    if not (unicode.replaced or data.isascii() or b"\x1b" in data):
        return unicode  # whatever is declared
    declared = _declared(data, sent)
    if data.isascii() or (b"\x1b$" in data and "iso2022_jp" in declared):
        return _decode(data, _seven_bit(data, declared))
    if _is_utf_8(unicode, data, declared):
        return unicode
    detected = detect_encoding(data) or _DEFAULT
    for charset in declared:
        if charset in ("utf-8", "replacement") or (charset == _DEFAULT and not _LATIN.fullmatch(detected)):
            continue
        decoded = _decode(data, charset)
        if _sound(decoded, data):
            return decoded
    if detected == "utf-8" and detected in declared:
        return unicode
    return _decode(data, _DEFAULT if detected in ("utf-8", *_UTF_16) else detected)


def _declared(data: bytes, sent: str | None) -> list[str]:
    """Known charsets, as declared; windows-1252 last. A page that names UTF-16 is not UTF-16: it could be read."""
    own = [_charset(label) for label in declared_labels(data)]
    browsers = {"utf-16-le": "utf-8", "utf-16-be": "utf-8", "x-user-defined": _DEFAULT}
    charsets = [sent, *(browsers.get(charset or "", charset) for charset in own)]
    known = [charset for charset in charsets if charset and charset not in _UTF_16]
    return sorted(known, key=lambda charset: charset == _DEFAULT)


def _charset(label: str | None) -> str | None:
    label = (label or "").strip().lower()
    return _MORE_LABELS.get(label) or (map_encoding_to_html5(label, False) if label else None)


def _seven_bit(data: bytes, declared: list[str]) -> str:
    """The charset of ASCII bytes that may hold escapes. Browsers do not read HZ and the other ISO-2022 charsets."""
    if "iso2022_jp" in declared or (b"\x1b" in data and detect_encoding(data) == "iso2022_jp"):
        return "iso2022_jp"
    return "replacement" if "replacement" in declared else "utf-8"


def _decode(data: bytes, charset: str) -> Decoded:
    text = decode(data, charset)
    if charset != "utf-8":
        return Decoded(text, charset, sum(1 for _ in _NO_TEXT.finditer(text)), None)
    replaced = text.count("\ufffd")
    return Decoded(text, charset, replaced, None if replaced else data)


def _is_utf_8(decoded: Decoded, data: bytes, declared: list[str]) -> bool:
    valid = len(decoded.text) - len(decoded.text.encode("ascii", "ignore")) - decoded.replaced
    if "utf-8" in declared:
        return decoded.replaced <= valid
    return _sound(decoded, data) or (not declared and decoded.replaced <= valid // 4)


def _sound(decoded: Decoded, data: bytes) -> bool:
    """Whether few replacements were needed relative to the non-ASCII bytes: a damaged page, not a wrong charset."""
    foreign = len(data) - len(data.translate(None, _NOT_ASCII)) if decoded.replaced else 0
    return decoded.replaced <= _TOLERATED_ERRORS * foreign or (decoded.replaced == 1 and foreign >= _ENOUGH)
