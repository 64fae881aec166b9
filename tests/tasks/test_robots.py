"""Captured robots.txt: the verdict is protego's, of the capture that holds."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies
from protego import Protego

from infra.outcomes import Dropped, Failed, Kept
from tasks import robots
from tasks.robots import RobotsConfig, judge_robots
from tests.tasks.site_files import captured, fitted, judged, outcomes

AGENTS = ("CCBot", "GPTBot", "Google-Extended", "*")
CONFIG = RobotsConfig(agents=AGENTS)
RULES = b"""User-agent: GPTBot
User-agent: google-extended
Disallow: /

User-agent: *
Disallow: /*.pdf$
Allow: /a
Disallow: /a/b
"""
NOW = "2024-02-03T04:05:06Z"


def verdicts(records: list[bytes], folder: Path, *urls: str | None, date: str | None = NOW) -> list[tuple[object, ...]]:
    """Status and denied agents of pages."""
    rows = judged(judge_robots, CONFIG, fitted(records, folder), [(url, date) for url in urls])
    assert all(
        row["disallowed"]
        == (None if row["agents"] is None else len(row["agents"].split(", ") if row["agents"] else []))
        for row in rows
    )
    return [(row["status"], row["agents"]) for row in rows]


LINE = strategies.sampled_from(
    [
        "User-agent: *",
        "User-agent: CCBot",
        "user agent gptbot",
        "User-agent: Google-Extended/1.0",
        "Disallow: /a",
        "Allow: /a/b",
        "Disallow: /*?q=",
        "Disallow: /%C3%BC",
        "disallow: /\u00fc$",
        "Disallow:",
        "Allow: /index.html",
        "Sitemap: /s.xml",
        "# x",
        "",
        "Crawl-delay: 1",
        "Disallow: *a*b*$",
        "\ufeffx",
    ]
)
TARGET = strategies.sampled_from(
    [
        "/",
        "/a",
        "/a/b?q=1",
        "/\u00fc",
        "/%c3%bc",
        "/index.html",
        "/x#y",
        "//a",
        "",
        "?q=2",
        "/a%2Fb",
        "/robots.txt",
        "/aab",
    ]
)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(strategies.lists(LINE, max_size=12), strategies.lists(TARGET, min_size=1, max_size=6))
def test_verdicts_are_those_of_protego(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], targets: list[str]
) -> None:
    text = "\n".join(lines)
    urls = [f"https://mill.example{target}" for target in targets]
    found = verdicts(
        [captured("https://mill.example/robots.txt", text.encode())], tmp_path_factory.mktemp("fit"), *urls
    )
    rules = Protego.parse(text.removeprefix("\ufeff"))
    assert found == [("found", ", ".join(agent for agent in AGENTS if not rules.can_fetch(url, agent))) for url in urls]


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (captured("https://mill.example/robots.txt", RULES), ("found", "GPTBot, Google-Extended")),
        (captured("https://MILL.example:443/robots.txt", RULES), ("found", "GPTBot, Google-Extended")),
        (captured("https://mill.example/robots.txt", b"<html>not found</html>"), ("found", "")),
        (captured("https://mill.example/robots.txt", status=404), ("unavailable", "")),
        (captured("https://mill.example/robots.txt", status=429), ("unavailable", "")),
        (captured("https://mill.example/robots.txt", status=503), ("unreachable", ", ".join(AGENTS))),
        (captured("https://mill.example/robots.txt", status=301, Location="/login"), ("redirected", None)),
        # Scheme, host and port are the site.
        (captured("http://mill.example/robots.txt", RULES), (None, None)),
        (captured("https://www.mill.example/robots.txt", RULES), (None, None)),
        (captured("https://mill.example:8443/robots.txt", RULES), (None, None)),
    ],
)
def test_what_a_capture_says_by_its_status(record: bytes, found: tuple[object, object], tmp_path: Path) -> None:
    assert verdicts([record], tmp_path, "https://mill.example/x") == [found]


def test_redirects_are_followed_five_times(tmp_path: Path) -> None:
    chain = [
        captured(f"https://{number}.example/robots.txt", status=302, Location=f"//{number + 1}.example/robots.txt")
        for number in range(6)
    ]
    records = [
        *chain,
        captured("https://6.example/robots.txt", RULES),
        captured("https://loop.example/robots.txt", status=301, Location="/robots.txt"),
    ]
    found = verdicts(records, tmp_path, "https://1.example/", "https://0.example/", "https://loop.example/")
    assert found == [("found", "GPTBot, Google-Extended"), ("redirected", None), ("redirected", None)]


def test_the_newest_capture_that_is_not_later_holds(tmp_path: Path) -> None:
    records = [
        captured(
            "https://mill.example/robots.txt",
            f"User-agent: CCBot\nDisallow: /{day}".encode(),
            date=f"2024-02-0{day}T00:00:00Z",
        )
        for day in (4, 2, 6)
    ]
    files = fitted(records, tmp_path)
    dates = ["2024-02-05T00:00:00Z", "2024-02-04T00:00:00Z", "2024-02-01", None, "no date", "2024-02-04T00:30:00+01:00"]
    rows = judged(judge_robots, CONFIG, files, [("https://mill.example/", date) for date in dates])
    assert [row["date"][9] for row in rows] == ["4", "4", "2", "6", "6", "2"]


def test_no_page_stops_a_build(tmp_path: Path) -> None:
    urls = [
        None,
        "",
        "http://[::1",
        "https://mill.example:99999/",
        "https://user:pw@mill.example/x.pdf",
        "http://[2001:DB8::0:1]/",
        "ftp://mill.example/",
        "https://\u00fcber.example/x.pdf",
        "https://xn--ber-goa.example/x.pdf",
        "https://mill.example/" + "a" * 100_000,
    ]
    records = [
        captured("https://mill.example/robots.txt", RULES),
        captured("http://[2001:db8::1]/robots.txt", RULES),
        captured("https://\u00fcber.example/robots.txt", RULES),
    ]
    found = verdicts(records, tmp_path, *urls)
    every, two, nothing = (
        ("found", ", ".join(("CCBot", "GPTBot", "Google-Extended", "*"))),
        ("found", "GPTBot, Google-Extended"),
        (None, None),
    )
    assert found == [nothing] * 4 + [every, two, nothing, every, every, two]


def test_a_large_file_is_cut_at_a_line(tmp_path: Path) -> None:
    line = b"Disallow: /" + b"x" * 200 + b"\n"
    body = b"User-agent: *\n" + line * 3_000 + b"Disallow: /never\n" + b"y" * (10 << 20)
    record = captured("https://mill.example/robots.txt", body)
    [kept] = outcomes([record])
    assert isinstance(kept, Kept) and kept.document.metadata["cut"] == 1
    assert len(kept.document.text) <= 500 << 10 and kept.document.text.endswith(line.decode())
    assert verdicts([record], tmp_path, "https://mill.example/never") == [("found", "")]


@pytest.mark.parametrize(
    "body",
    [
        b"".join(b"user-agent:%x\n" % number for number in range(15_000)) + b"disallow:/\n" * 15_000,
        b"".join(b"user-agent:%x\n" % number for number in range(30_000)),
        b"user-agent:*\n" + b"allow:/*\n" * 55_000,
    ],
)
def test_rules_that_multiply_are_not_read(body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots, "Protego", None)  # so that a parse would fail
    monkeypatch.setattr(robots, "UsageRules", None)
    assert len(body) < 512_000
    assert verdicts([captured("https://mill.example/robots.txt", body)], tmp_path, "https://mill.example/") == [
        ("too_complex", None)
    ]


def test_wildcards_take_no_more_than_linear_time(tmp_path: Path) -> None:
    body = b"user-agent: *\ndisallow: /" + b"*a" * 200_000 + b"b\ndisallow: " + b"*" * 90_000 + b"\n"
    found = verdicts(
        [captured("https://mill.example/robots.txt", body)], tmp_path, "https://mill.example/" + "a" * 60_000
    )
    assert found == [("found", ", ".join(AGENTS))]


def test_other_records_are_accounted_for() -> None:
    found = outcomes(
        [
            captured("https://mill.example/robots.txt?x=1"),
            captured("https://mill.example/a/robots.txt"),
            captured("https://mill.example/robots.txt", b"\x1f\x8b\x08broken", Content_Encoding="gzip"),
            captured("dns:mill.example"),
        ]
    )
    assert [str(item.reason) for item in found if isinstance(item, Dropped)] == ["other_page"] * 3
    assert [type(item) for item in found].count(Failed) == 1


@pytest.mark.parametrize("agents", [(), ("",), ("a,b",), tuple(map(str, range(33)))])
def test_agents_have_names(agents: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        RobotsConfig(agents=agents)


def test_other_files_are_no_captures(tmp_path: Path) -> None:
    files = fitted([], tmp_path)
    assert judged(judge_robots, CONFIG, files, [("https://mill.example/", None)])[0]["status"] is None
    for name, content in (("captures.arrow", b"x"), ("captures.txt", None)):
        path = tmp_path / "bad"
        path.write_bytes(content or b"")
        bad = {**files, name: path} if content else {key: value for key, value in files.items() if key != name}
        with pytest.raises(ValueError, match=r"captures"):
            judged(judge_robots, CONFIG, bad, [])
    other = tmp_path / "other.arrow"
    with pa.ipc.new_file(str(other), pa.schema([("x", pa.int8())])):
        pass
    assert judge_robots.try_model is not None
    with pytest.raises(ValueError, match="has other columns"):
        judge_robots.try_model({**files, "captures.arrow": other})
    judge_robots.try_model(files)


# After the example of draft-ietf-aipref-attach, section 3.4.
USAGE = """User-Agent: *
Allow: /
Disallow: /never/
content-usage : train-ai=n   # a comment
Content-Usage: /ai-ok/ train-ai=y
Content-Usage: /odd Train-AI=n

User-Agent: GPTBot
Allow: /
Content-Usage: train-ai=y, search=n
Sitemap: https://mill.example/s.xml
User-agent: CCBot
Content-Signal: search=yes, ai-train=no, ai-input=no
"""


@pytest.mark.parametrize(
    ("agents", "path", "train_ai", "search"),
    [
        (("*",), "/test", "n", None),
        (("*",), "/never/test", None, None),
        (("*",), "/ai-ok/test", "y", None),
        (("*",), "/odd", "n", None),
        (("GPTBot",), "/ai-ok/", "y", "n"),
        (("CCBot",), "/x", "n", "y"),
        (("GPTBot", "*"), "/x", "n", "n"),
    ],
)
def test_preferences_of_use_are_those_of_the_agents(
    agents: tuple[str, ...], path: str, train_ai: str | None, search: str | None, tmp_path: Path
) -> None:
    files = fitted([captured("https://mill.example/robots.txt", USAGE.encode())], tmp_path)
    [row] = judged(judge_robots, RobotsConfig(agents=agents), files, [(f"https://mill.example{path}", NOW)])
    assert (row["train_ai"], row["search"]) == (train_ai, search)


def test_an_empty_file_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    """Its text begins where the next one does."""
    records = [
        captured("https://a.example/robots.txt"),
        captured("https://b.example/robots.txt", b"User-agent: *\nDisallow: /"),
    ]
    files, pages = fitted(records, tmp_path), [("https://a.example/x", NOW), ("https://b.example/x", NOW)]
    found = [row["disallowed"] for row in judged(judge_robots, CONFIG, files, pages)]
    turned = [row["disallowed"] for row in judged(judge_robots, CONFIG, files, pages[::-1])]
    assert (found, turned) == ([0, len(AGENTS)], [len(AGENTS), 0])
