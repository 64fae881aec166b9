"""Decoders against vectors that Chromium 156 decoded (`new TextDecoder(label).decode(bytes)`)."""

from __future__ import annotations

import pytest

from tasks.sources.charset import decode_page
from tasks.sources.decoders import decode

# Where Python's codecs differ, or damage shifts what follows.
VECTORS = [
    ("euc_jp", "ada1ade2b0a1 8fb0a1 8eb1 a1c1fcfe", "①№亜丂ｱ～＂"),
    ("euc_jp", "b0a141b041b0ffb0a1", "亜A\ufffdA\ufffd亜"),
    ("euc_jp", "8fa2b78fa1a1b0a180a4a2", "～\ufffd亜\ufffdあ"),
    ("shift_jis", "8740fa4081405c7e80b1a0fd", "①ⅰ\u3000\\~\x80ｱ\ufffd\ufffd"),
    ("shift_jis", "88fd889f8820889f", "\ufffd亜\ufffd 亜"),
    ("gb18030", "80a2e3a8bcfe59a6d981308130", "€€ḿ龴︐\x80"),
    ("gbk", "b0a1ff b0 b0a181 31b0a1", "啊\ufffd鞍\ue5061啊"),
    ("big5", "877aa145a3e1fe52a4a4", "㡵‧€猪中"),
    ("big5", "a4a481418080a4a4", "中\ufffdA\ufffd\ufffd中"),
    ("euc_kr", "b0a18141b0ffb0a1b020b0a1", "가갂\ufffd가\ufffd 가"),
    ("iso2022_jp", "1b2442302d21301b284a5c7e1b2849311b28425c", "悪＾¥‾ｱ\\"),
    ("iso2022_jp", "1b2442ad21302d1b2842411b41", "\ufffd＾\ufffdA\ufffdA"),
    ("cp1252", "80818d9ff1", "€\x81\x8dŸñ"),
    ("cp1255", "cae0", "ֺא"),
    ("cp1251", "98e0", "\x98а"),
    ("koi8-u", "aebec1", "ўЎа"),
    ("iso8859-11", "8081a1", "€\x81ก"),
    ("mac-cyrillic", "80ff", "А€"),
    ("x-user-defined", "4180ff", "A\uf780\uf7ff"),
    ("iso8859-6", "a1c7", "\ufffdا"),
    ("utf-8", "61e28262c0aff09f98f0", "a\ufffdb\ufffd\ufffd\ufffd\ufffd"),
    ("utf-16-le", "41003dd842000a", "A\ufffdB\ufffd"),
    ("replacement", "4142", "\ufffd"),
]
# Labels of WHATWG Encoding section 4.2 that name no Python codec, or another one.
LABELS = {
    "x-sjis": "8740",
    "ms932": "8740",
    "windows-31j": "8740",
    "x-euc-jp": "ada1",
    "cseucpkdfmtjapanese": "ada1",
    "gb2312": "a2d9",
    "chinese": "a2d9",
    "x-gbk": "a2d9",
    "ks_c_5601-1987": "a8e7",
    "korean": "a8e7",
    "windows-949": "a8e7",
}


@pytest.mark.parametrize(("charset", "data", "text"), VECTORS)
def test_decoders_agree_with_a_browser(charset: str, data: str, text: str) -> None:
    assert decode(bytes.fromhex(data.replace(" ", "")), charset) == text


@pytest.mark.parametrize("label", LABELS)
def test_labels_mean_what_they_mean_in_browsers(label: str) -> None:
    page = b"<p>" + bytes.fromhex(LABELS[label]) * 20
    assert decode_page(page, f"text/html; charset={label}").text == "<p>" + "①" * 20


@pytest.mark.parametrize(
    ("charset", "label", "text"),
    [
        ("euc_jp", "euc-jp", "水車はゆっくりと回り、粉屋は小麦粉を袋に詰める。"),
        ("cp932", "shift_jis", "水車はゆっくりと回り、粉屋は小麦粉を袋に詰める。"),
        ("gb18030", "gb2312", "水车在晨光中缓缓转动，磨坊主人把面粉装进袋子里。"),
        ("big5", "big5", "水車在晨光中緩緩轉動，磨坊主人把麵粉裝進袋子裡。"),
        ("cp949", "euc-kr", "물레방아는 천천히 돌고 방앗간 주인은 밀가루를 자루에 담는다."),
    ],
)
@pytest.mark.parametrize("damage", [b"\xff", b"\x80\xff", b"\xa0"])
def test_damage_costs_no_more_than_its_character(charset: str, label: str, text: str, damage: bytes) -> None:
    whole = text * 20
    middle = len(text) * 10
    data = b"<p>" + whole[:middle].encode(charset) + damage + b"\n" + whole[middle:].encode(charset)
    found = decode_page(data, f"text/html; charset={label}").text
    assert found.startswith("<p>" + whole[:middle])
    assert found.endswith(whole[middle + 1 :])
    assert len(found) <= len(whole) + 3 + len(damage) + 1


def test_all_of_a_table_is_decoded() -> None:
    """The number of codes with a character, as in the standard's indexes; four of Big5 have two."""
    pairs = [bytes([lead, trail]) for lead in range(0x81, 0xFF) for trail in range(0x40, 0xFF) if trail != 0x7F]
    known = {charset: sum("\ufffd" not in decode(pair, charset) for pair in pairs) for charset in ("big5", "gb18030")}
    assert known == {"big5": 18_590 + 4, "gb18030": 23_940}
