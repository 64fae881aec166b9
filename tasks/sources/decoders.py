"""Decodes legacy character sets as browsers do (WHATWG Encoding): Python's codecs, and where they differ from it.

An invalid sequence costs one U+FFFD, and a trail byte that is ASCII stays (sections 11 to 14), so damage does not shift
the characters behind it. Charsets have the names of Python's codecs.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Callable, Iterator

_REPLACEMENT = "\ufffd"
# Names of charsets that are not Python codecs.
_CODECS = {"iso8859-11": "cp874", "x-user-defined": "ascii"}
# What single-byte charsets have more than Python's codecs; they also map undefined bytes below 0xA0 to controls.
_MORE_SINGLE = {"koi8-u": {0xAE: "\u045e", 0xBE: "\u040e"}, "cp1255": {0xCA: "\u05ba"}}
_WITH_CONTROLS = frozenset({"iso8859-11"} | {f"cp125{digit}" for digit in range(9)})
_ASCII = rb"[\x00-\x7f]++"
_PAIRS = {
    "big5": rb"[\x81-\xfe][\x40-\x7e\x80-\xff]",
    "euc_kr": rb"[\x81-\xfe][\x41-\x7e\x80-\xff]",
    "euc_jp": rb"\x8f[\xa1-\xfe][\x80-\xff]|[\x8e\x8f\xa1-\xfe][\x80-\xff]",
    "gb18030": rb"[\x81-\xfe](?:[\x30-\x39](?:[\x81-\xfe](?:[\x30-\x39]|\Z)|\Z)|[\x40-\x7e\x80-\xff])",
    "shift_jis": rb"[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xff]",
}
_PYTHON = {"big5": "big5hkscs", "euc_kr": "cp949", "euc_jp": "euc_jp", "gb18030": "gb18030", "shift_jis": "cp932"}
# Where the index differs from Python's: a code, and the characters of this and the following codes of its row.
_DIFFERENT = {
    "big5": """
    877a㡵𡵓𣚞𦀡㻬𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋
    8e69箸 8e6f簆 8e7e糎 8eab緒 8eb4縝 8ecd者 8ed0耨 8f57菁 8f69蒨 8f6e萏 8fcb覦覩 8ffe起 906d都 907a銹
    90dc靜 90f1響 91bf鼖 9244蔃 92af兙兛兝兞 92c8鍮 92d1瑹 9447浧 94ca禛 95d9邗 9644靝 96ed瀞 96fc嬨 9b76爁
    9b78矗 9b7b纇 9bc6駖 9bde釔 9bec惞 9bf6澶 9c42輶 9c53侻 9c62營 9c68鄄 9c6b鷰 9c77菏 9cbc尐秣 9cd0婧
    9d57輋 9d5a筑 9dc4拐 9ea9恢 9eef痹 9efd汊 9f60鬮 9f66鼗 9fcb僭 9fd8弌 a063蠏 a077拎 a0d5瑨 a0df煢 a0e4牐
    a145‧ a14e﹑ a1c2¯ a1e3～ a1f2⊕⊙ a241∕﹨ a244￥ a246￠￡ a3c0␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡€ c6cf廴
    c6d3无 c6d5癶 c6d7隶 c6de〃仝 fa5f倩 fa66偽 fabd包 fac5卄 fad5卿 fb48嘅 fbb8婷 fbf3幵 fbf9廐 fc4f彘
    fc6c悤 fcb9撐 fce2晴 fcf1杞 fdb7沜渝 fdbb港 fdf1煮 fe52猪 fe6f瑜 feaa瓩 fedd砉
    """,
    "euc_jp": "8fa2b7\uff5e",
    "euc_kr": "",
    "gb18030": """
    80\u20ac a3a0\u3000 a6d9\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16 a6ec\ufe17\ufe18 a6f3\ufe19 a8bc\u1e3f
    fe59\u9fb4 fe61\u9fb5 fe66\u9fb6\u9fb7 fe6d\u9fb8 fe7e\u9fb9 fe90\u9fba fea0\u9fbb 8135f437\ue7c7
    """,
    "shift_jis": "80\x80 a0\ufffd fd\ufffd\ufffd\ufffd",
}
_ESCAPE = re.compile(rb"\x1b(\(B|\(J|\(I|\$@|\$B)")


def decode(data: bytes, charset: str) -> str:
    """The text of `data`; U+FFFD stands for what is invalid. Raises LookupError for an unknown charset."""
    if charset == "replacement":
        return _REPLACEMENT if data else ""
    if charset == "iso2022_jp":
        return "".join(_iso_2022_jp(data))
    charset = {"gbk": "gb18030"}.get(charset, charset)
    if charset in _PAIRS:
        return _multi_byte(charset)(data)
    if charset in ("utf-8", "utf-16-le", "utf-16-be"):
        return data.decode(charset, "replace")
    return codecs.charmap_decode(data, "replace", _single_byte(charset))[0]


@functools.cache
def _single_byte(charset: str) -> str:
    more = _MORE_SINGLE.get(charset, {})
    return "".join(more.get(byte) or _byte(byte, charset) for byte in range(256))


def _byte(byte: int, charset: str) -> str:
    if charset == "x-user-defined" and byte >= 0x80:
        return chr(0xF700 + byte)
    text = bytes([byte]).decode(_CODECS.get(charset, charset), "replace")
    return chr(byte) if text == _REPLACEMENT and byte < 0xA0 and charset in _WITH_CONTROLS else text


@functools.cache
def _multi_byte(charset: str) -> Callable[[bytes], str]:
    token = re.compile(_ASCII + rb"|" + _PAIRS[charset] + rb"|[\x80-\xff]", re.DOTALL)
    known = dict(_differences(_DIFFERENT[charset]))

    def text_of(code: bytes) -> str:
        if code[0] < 0x80:
            return code.decode("ascii")
        found = known.get(code)
        if found is None:
            found = known[code] = _code(code, charset)
        return found

    return lambda data: "".join(map(text_of, token.findall(data)))


def _differences(table: str) -> Iterator[tuple[bytes, str]]:
    for digits, characters in re.findall("([0-9a-f]+)([^ \n]+)", table):
        code = int(digits, 16)
        for character in characters:
            yield code.to_bytes(len(digits) // 2), character
            code += 0x23 if code & 0xFF == 0x7E else 1


def _code(code: bytes, charset: str) -> str:
    """The text of a code that is not ASCII, or U+FFFD and the trail byte if that is ASCII."""
    try:
        if charset == "euc_jp" and len(code) == 2 and code[0] >= 0xA1 and 0xA1 <= code[1] <= 0xFE:
            return _jis_0208(code[0] - 0xA1, code[1] - 0xA1)
        return code.decode(_PYTHON[charset])
    except UnicodeDecodeError:
        stays = len(code) == 2 and code[1] < 0x80 and not (charset == "gb18030" and code[1:].isdigit())
        return _REPLACEMENT + (chr(code[1]) if stays else "")


def _jis_0208(row: int, cell: int) -> str:
    """The character of a row and a cell (from 0), with the rows that only Windows has. Raises UnicodeDecodeError."""
    lead, trail = divmod(row * 94 + cell, 188)
    code = bytes([lead + (0x81 if lead < 0x1F else 0xC1), trail + (0x40 if trail < 0x3F else 0x41)])
    return code.decode("cp932")


def _iso_2022_jp(data: bytes) -> Iterator[str]:
    """ASCII, JIS-Roman, katakana and JIS X 0208, between escapes (WHATWG Encoding section 13.2)."""
    parts = _ESCAPE.split(data)
    for escape, part in zip([b"(B", *parts[1::2]], parts[::2], strict=True):
        if escape.startswith(b"$"):
            yield _double_bytes(part)
        elif escape == b"(I":
            yield "".join(chr(0xFF40 + byte) if 0x21 <= byte <= 0x5F else _REPLACEMENT for byte in part)
        else:
            text = re.sub("[\x0e\x0f\x1b\ufffd]", _REPLACEMENT, part.decode("ascii", "replace"))
            yield text.replace("\\", "\xa5").replace("~", "\u203e") if escape == b"(J" else text


def _double_bytes(part: bytes) -> str:
    def text_of(code: bytes) -> str:
        if len(code) == 1 or not 0x21 <= code[1] <= 0x7E:
            return _REPLACEMENT
        try:
            return _jis_0208(code[0] - 0x21, code[1] - 0x21)
        except UnicodeDecodeError:
            return _REPLACEMENT

    return "".join(map(text_of, re.findall(rb"[\x21-\x7e][^\x1b]|[\x00-\xff]", part, re.DOTALL)))
