"""TDMRep: the file of the site, the header above it, the markup above both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.rights.patterns import Pattern, normal_target
from tasks.tdmrep import TdmrepConfig, read_tdmrep
from tests.tasks.site_files import captured, fitted, judged

FILE = "https://mill.example/.well-known/tdmrep.json"
# After the example of the specification, section 6.1.
RULES = [
    {"location": "/directory-a/", "tdm-reservation": 1},
    {"location": "/directory-b/html/", "tdm-reservation": 1, "tdm-policy": "https://mill.example/policy.json"},
    {"location": "/directory-b/images/*.jpg", "tdm-reservation": 0, "tdm-policy": "ignored"},
    {"location": "/last$", "tdm-reservation": "1"},
    {"location": "/odd", "tdm-reservation": True},
]


def found(folder: Path, rules: Any, path: str, said: str | None = None, status: int = 200) -> tuple[Any, ...]:
    body = rules if isinstance(rules, bytes) else json.dumps(rules).encode()
    files = fitted([captured(FILE, body, status)], folder)
    metadata: dict[str, Any] = {} if said is None else {"rights": said}
    [row] = judged(read_tdmrep, TdmrepConfig(), files, [(f"https://mill.example{path}", "2024-02-03")], metadata)
    return row["status"], row["location"], row["reserved"], row["policy"]


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("/directory-a/x.pdf", ("/directory-a/", 1, None)),
        ("/directory-b/html/", ("/directory-b/html/", 1, "https://mill.example/policy.json")),
        ("/directory-b/images/a/b.jpg?x", ("/directory-b/images/*.jpg", 0, None)),
        ("/last", ("/last$", 1, None)),
        ("/last/", (None, None, None)),
        ("/odd", ("/odd", None, None)),
        ("/%64irectory-a/", ("/directory-a/", 1, None)),
        ("", (None, None, None)),
    ],
)
def test_the_first_rule_that_matches_holds(path: str, verdict: tuple[Any, ...], tmp_path: Path) -> None:
    assert found(tmp_path, RULES, path) == ("found", *verdict)


def test_header_and_markup_stand_above_the_file(tmp_path: Path) -> None:
    assert found(tmp_path, RULES, "/directory-a/", "header tdm-reservation: 0")[2] == 0
    said = "header tdm-reservation: 0\nmeta tdm-reservation: 1\nmeta tdm-policy: https://p.example/"
    assert found(tmp_path, RULES, "/directory-b/images/a.jpg", said)[2:] == (1, "https://p.example/")
    assert (
        found(tmp_path, RULES, "/directory-b/html/", "header tdm-reservation: 1")[3]
        == "https://mill.example/policy.json"
    )
    assert found(tmp_path, RULES, "/x", "meta tdm-reservation: 1") == ("found", None, 1, None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 200_000, "invalid"),
        (b'[{"location":' * 100_000, "invalid"),
        (b'{"location": "/", "tdm-reservation": 1}', "invalid"),
        (b'[{"tdm-reservation": ' + b"9" * 5_000 + b"}]", "invalid"),
        (b"", "invalid"),
        (b"[" + b"0," * 10_000 + b"0]", "too_complex"),
        (
            b'[1, null, {"location": 1}, {"location": "/\\ud800", "tdm-reservation": 1, "tdm-policy": "\\udfff"}]',
            "found",
        ),
    ],
)
def test_a_hostile_file_says_nothing(body: bytes, status: str, tmp_path: Path) -> None:
    assert found(tmp_path, body, "/")[:3] == (status, None, None)


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, b"", "/", status=404) == ("absent", None, None, None)


@pytest.mark.parametrize(
    ("pattern", "target", "matches"),
    [
        ("/", "/x", True),
        ("/a", "/b", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/*.jpg$", "/a.jpg.jpg", True),
        ("/a*b*c", "/a-b-c-d", True),
        ("/a*b*c$", "/abd", False),
        ("*", "/", True),
        ("*$", "/x", True),
        ("/a*a$", "/a", False),
        ("/foo-%24", "/foo-$", False),
        ("/\u00fc", "/%C3%BC/x", True),
        ("/%c3%bc", "/\u00fc", True),
        ("/%7Ea", "/~a", True),
        ("/%2f", "/%2F", True),
    ],
)
def test_patterns_match_as_in_robots_txt(pattern: str, target: str, matches: bool) -> None:
    assert Pattern(pattern).matches(normal_target(target)) is matches
