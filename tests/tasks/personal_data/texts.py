"""Made texts with personal data at known places, in ten formats, and what looks like it and is none."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from stdnum import iban, luhn

REGIONS = ("US", "GB", "DE")
# Numbers that their countries keep for fiction and examples, and some of public services.
PHONES = (
    *(
        "+1 650-253-0000",
        "+16502530000",
        "+44 20 7946 0018",
        "+44 (0)20 7946 0018",
        "+49 30 901820",
        "+33 1 42 68 53 00",
    ),
    *("(650) 253-0000", "650-253-0000", "650.253.0000", "020 7946 0018", "030 901820", "0800 3301000"),
)
# Looks like one of the kinds, and is none.
NEITHER = (
    *("version 10.2.3.4", "v1.12.13.14", "release 2.10.33.44", "Chrome/90.0.4430.212", "section 4.3.2.1", "1.2.3.4"),
    *("192.168.1.17", "10.0.0.1", "127.0.0.1", "172.16.254.3", "0.0.0.0", "255.255.255.0", "300.1.2.3", "192.0.2.7"),
    *("ISBN 978-3-16-148410-0", "ISBN 0-306-40615-2", "9783161484100", "EAN 4006381333931", "ISSN 0378-5955"),
    *("2024-01-31", "31.01.2024", "1/31/2024 10:15:00", "20240131123045", "12:30:45", "2024-01-31T10:15:00+01:00"),
    *("4111 1111 1111 1112", "5500005555555558", "1234567812345678", "order 6502530000", "0.4111111111111111"),
    *("user@host", "root@localhost:~#", "git@github.com:mill/wheel.git", "react@17.0.2", "icon@2x.png", "@someone"),
    *(
        "std::vector",
        "a::b",
        "fe80::1",
        "::1",
        "2001:db8::1",
        "00:1a:2b:3c:4d:5e",
        "Face::add",
        "ssh://me@host.example",
    ),
    *("DE00 3704 0044 0532 0130 00", "GB82 WEST 1234 5698 7654 33", "AB12 CDEF", "ID2024 0001 0002 0003 0004"),
    *("123e4567-e89b-12d3-a456-426614174000", "1,234,567.89", "$4,111.11", "pi is 3.14159265358979", "10-20 people"),
    *("394.000", "1 350 000", "12.345.678", "39/2023", "no. 35/2023", "12 345 678 people"),
    *("1970-1985", "pages 650-700", "3 x 4 + 5", "+5 points", "100.000.000", "scored 21-19, 15-21, 21-17"),
)


def emails(rng: random.Random) -> str:
    name = rng.choice(["anna.meyer", "j_doe42", "info", "o-brien", "first.last+tag", "x"])
    return f"{name}@{rng.choice(['mill', 'river-wheel', 'post.sub'])}.{rng.choice(['org', 'co.uk', 'de', 'museum'])}"


def cards(rng: random.Random) -> str:
    prefix, length = rng.choice([("4", 16), ("5" + rng.choice("12345"), 16), ("37", 15), ("6011", 16), ("36", 14)])
    digits = prefix + "".join(rng.choice("0123456789") for _ in range(length - len(prefix) - 1))
    digits += luhn.calc_check_digit(digits)
    sep = rng.choice(["", " ", "-"])
    cuts = [4, 8, 12] if length == 16 else [4, 10]
    parts = [digits[a:b] for a, b in zip([0, *cuts], [*cuts, length])]
    return sep.join(parts)


def accounts(rng: random.Random) -> str:
    country, form = rng.choice(
        [("DE", "9" * 18), ("NL", "A" * 4 + "9" * 10), ("GB", "A" * 4 + "9" * 14), ("NO", "9" * 11)]
    )
    bban = "".join(rng.choice("ABCDEFGH" if one == "A" else "0123456789") for one in form)
    number = country + iban.calc_check_digits(f"{country}xx{bban}") + bban
    return iban.format(number) if rng.random() < 0.5 else number


def addresses(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return ":".join(["2a00", *(f"{rng.randrange(1, 65536):x}" for _ in range(7))])
    return f"{rng.randrange(11, 100)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"


def phones(rng: random.Random) -> str:
    return rng.choice(PHONES)


MAKERS: dict[str, Callable[[random.Random], str]] = {
    "email": emails,
    "account": accounts,
    "card": cards,
    "ip": addresses,
    "phone": phones,
}
# Each a format around one value, with words of several scripts.
FORMATS: tuple[Callable[[str], str], ...] = (
    lambda value: f"Please write or call ({value}), or come to the mill by the river.",
    lambda value: f"Schreiben Sie an {value}. Die Mühle ist täglich geöffnet.",
    lambda value: f"联系方式：{value}，谢谢。水车已经转了三百年。",
    lambda value: f'{{"id": 17, "value": "{value}", "ok": true}}',
    lambda value: f"17;wheel;{value};2024-01-31;yes",
    lambda value: f"Contact:\t{value}\r\nSubject: the wheel\r\n",
    lambda value: f"| name | value |\n|---|---|\n| mill | {value} |",
    lambda value: f"INSERT INTO people VALUES (17, '{value}', NULL);",
    lambda value: f"2024-01-31 10:15:00 INFO wheel: {value} seen, 3 of 17 done",
    lambda value: f"<td>{value}</td><br>\n- a list item\n* {value}",
)


@dataclass(frozen=True)
class Made:
    """A text, and the spans of bytes with their kinds that are in it."""

    text: str
    spans: frozenset[tuple[int, int, str]]


def made_text(rng: random.Random, form: Callable[[str], str]) -> Made:
    """A text of one format with values of all kinds, and with what is none, in some order."""
    values = [(kind, make(rng)) for kind, make in MAKERS.items()] + [("", rng.choice(NEITHER)) for _ in range(5)]
    rng.shuffle(values)
    text, spans = "", set()
    for kind, value in values:
        line = form(value)
        start = line.find(value)
        while kind and start >= 0:
            first = len((text + line[:start]).encode())
            spans.add((first, first + len(value.encode()), kind))
            start = line.find(value, start + 1)
        text += line + "\n"
    return Made(text, frozenset(spans))
