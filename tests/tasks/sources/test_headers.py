from __future__ import annotations

import pytest

from tasks.sources.headers import http_fields, media_type, named_fields


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("text/html", ("text/html", None)),
        ("TEXT/HTML;Charset=UTF-8", ("text/html", "UTF-8")),
        (" text/html ; charset = 'utf-8' ", ("text/html", "utf-8")),
        ('text/html; a="b"; charset="utf-8"', ("text/html", "utf-8")),
        ("text/html charset=utf-8", ("text/html", "utf-8")),
        ("text/html, charset=utf-8", ("text/html", "utf-8")),
        ("text / html; charset=utf-8", ("text/html", "utf-8")),
        ("text/html;charset=koi8-r, text/html", ("text/html", "koi8-r")),
        ("text/html;charset=koi8-r, text/html;charset=utf-8", ("text/html", "utf-8")),
        ("text/plain;charset=koi8-r, text/html", ("text/html", None)),
        ("text/html, */*", ("text/html", None)),
        ("*/*", ("*/*", None)),
        ("html", ("", None)),
        ("", ("", None)),
        (";;;,,,", ("", None)),
        ("text/html; charset=" + " " * 60_000 + ";", ("text/html", None)),
        ("text/html" + "; charset= " * 10_000, ("text/html", None)),
        ("a" * 60_000, ("", None)),
    ],
)
def test_content_types_as_servers_send_them(field: str, found: tuple[str, str | None]) -> None:
    assert media_type(field) == found


HEADER = (
    b"first line\r\nA: 1\r\nb : 2\nA: 3\r\n\tfolded\r\n  twice \r\nnone\r\n lost\r\n: 4\r\nC:\r\n d\r\nE: \xe9\r\n\r\n"
)


def test_the_first_of_equal_named_fields_counts() -> None:
    assert named_fields(HEADER) == {"a": "1", "b": "2", "c": "d", "e": "é"}


def test_equal_fields_of_http_are_one_list() -> None:
    assert http_fields(HEADER) == {"a": "1, 3 folded twice", "b": "2", "c": "d", "e": "é"}


def test_folded_lines_are_joined_once() -> None:
    """The pieces are kept apart until the field is complete: its value is built in one step."""
    lines = 20_000
    assert http_fields(b"x\nA: b\n" + b" c\n" * lines) == {"a": "b" + " c" * lines}


@pytest.mark.parametrize(
    "line_end, encoding",
    [(b"\n", "utf-8"), (b"\r\n", "utf-8"), (b"\r\n", "latin-1"), (b"\r\r\n", "utf-8")],
)
def test_fields_are_the_same_whether_or_not_another_is_folded(line_end: bytes, encoding: str) -> None:
    lines = [
        "x",
        "Name:  Gr\u00fc\u00dfe \u00a0",
        "NAME : \u0085b:c\x1c",
        "no colon",
        ": no name",
        "\x0b: none",
        "Z:\ry",
        "",
    ]
    header = line_end.join(line.encode(encoding) for line in lines)
    folded = http_fields(header + b"Last: a\n b\n")
    assert folded.pop("last") == "a b"
    assert http_fields(header) == folded == {"name": "Gr\u00fc\u00dfe, b:c", "z": "y"}
