"""Rights: what a captured page says of them, from the archive to columns."""

from __future__ import annotations

import io
from typing import Any

import pytest

from infra.documents import documents_table
from infra.outcomes import Document, Kept, read_all
from tasks.rights import RightsConfig, read_rights
from tasks.rights.licences import creative_commons
from tasks.rights.mining import usage_of
from tasks.sources import declared
from tasks.sources.extraction import Extractor
from tasks.sources.web_archive import WebArchiveConfig, read_web_archive
from tests.tasks.sources.samples import PARAGRAPH, warc_record

URL = "https://mill.example/a/page.html"
EMPTY = dict.fromkeys(column for column in read_rights.schema.names) if read_rights.schema else {}


def captured(head: str = "", body: str = "", header: str = "", extractor: Extractor = Extractor.millrace) -> Document:
    """The document of a page; `header` are fields of its response."""
    markup = f"<!doctype html><html><head><title>A page</title>{head}</head><body>{PARAGRAPH}{body}</body></html>"
    response = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{header}\r\n{markup}".encode()
    stream = io.BytesIO(warc_record(response, uri=URL))
    [kept] = read_all(read_web_archive(stream, "made.warc", WebArchiveConfig(source="mill", extractor=extractor)))
    assert isinstance(kept, Kept)
    return kept.document


def rights(head: str = "", body: str = "", header: str = "", agents: tuple[str, ...] = ()) -> dict[str, Any]:
    """The columns that are not null."""
    [row] = read_rights(documents_table([captured(head, body, header)]), RightsConfig(agents=agents)).to_pylist()
    return {name: value for name, value in row.items() if value is not None}


def flags(*arguments: Any, **named: Any) -> dict[str, Any]:
    found = rights(*arguments, **named)
    assert found.pop("date") == "2024-02-03T04:05:06Z" and found.pop("said") and found.pop("cut") == 0
    return found


def test_a_page_that_says_nothing_has_no_rights() -> None:
    assert "rights" not in captured().metadata and rights() == {}


@pytest.mark.parametrize(
    ("header", "head", "found"),
    [
        ("X-Robots-Tag: noindex, noarchive\r\n", "", {"noindex": 1, "noarchive": 1}),
        ("x-robots-tag: googlebot: noindex, otherbot: nofollow\r\n", "", {}),
        # A field without an agent is for all, whatever stands in the field before it.
        ("X-Robots-Tag: googlebot: nofollow\r\nX-Robots-Tag: noai\r\n", "", {"noai": 1}),
        ("X-Robots-Tag: GPTBot: none\r\n", "", {"noindex": 1, "nofollow": 1}),
        ("X-Robots-Tag: unavailable_after: 25 Jun 2010 15:00:00 PST, noindex\r\n", "", {"noindex": 1}),
        ("X-Robots-Tag: max-snippet: 0\r\n", "", {"nosnippet": 1}),
        ("X-Robots-Tag: max-snippet:-1, max-image-preview: large\r\n", "", {}),
        ("", '<meta name="ROBOTS" content="INDEX,FOLLOW">', {"noindex": 0, "nofollow": 0}),
        ("", '<meta content="noai; noimageai" name=robots>', {"noai": 1, "noimageai": 1}),
        ("X-Robots-Tag: noindex\r\n", "<meta name=robots content=index>", {"noindex": 1}),
        ("", "<meta name=googlebot-news content=noindex><meta name=gptbot content=nocache>", {"noarchive": 1}),
        ("", "<template><meta name=robots content=noindex></template><meta name=robots content=all>", None),
        # Agents have names of any kind; what consists of directives is for one.
        ("", '<meta name="Anthropic-AI" content="noindex, NOAI">', {"noindex": 1, "noai": 1}),
        ("", "<meta name=slurp content=noindex><meta name=dc.rights content=noindex>", {}),
        ("tdm-reservation: 1\r\ntdm-policy: https://mill.example/p.json\r\n", "", "https://mill.example/p.json"),
        ("TDM-Reservation: 1\r\n", '<meta name="tdm-reservation" content="0">', {"tdm_reserved": 0}),
        ("tdm-reservation: 0\r\ntdm-policy: https://mill.example/p\r\n", "", {"tdm_reserved": 0}),
        ("tdm-reservation: 0\r\n", '<meta name="tdm-reservation" content="yes">', {"tdm_reserved": 0}),
        ("tdm-reservation: true\r\n", "", {}),
        ("Content-Usage: train-ai=n, search=y\r\n", "", {"train_ai": "n", "search": "y"}),
        ("Content-Usage: train-ai=n\r\nContent-Usage: train-ai=y\r\n", "", {"train_ai": "y"}),
    ],
)
def test_what_a_page_says_is_in_its_columns(header: str, head: str, found: Any) -> None:
    if found is None:
        found = {"noindex": 0, "nofollow": 0}
    if isinstance(found, str):
        found = {"tdm_reserved": 1, "tdm_policy": found}
    assert flags(head, header=header, agents=("gptbot", "Anthropic-AI")) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("train-ai=n", {"train-ai": False}),
        ('train-ai=y, train-ai, search=n, search="n"', {}),
        ("train-ai;allow=n, train-ai=y", {"train-ai": True}),
        ('a=(1 2 "x");q=1, train-ai=n;x="?",\tother=?0', {"train-ai": False}),
        # No dictionaries, which say nothing at all.
        *((wrong, {}) for wrong in ("Train-AI=n", "train-ai=n,", "train-ai=n search=y", "search=y, 1=n", "train-ai=ü")),
    ],
)
def test_preferences_are_dictionaries_of_structured_fields(value: str, found: dict[str, bool]) -> None:
    assert usage_of(value) == found


@pytest.mark.parametrize(
    ("head", "body", "header", "licence", "mentioned"),
    [
        ("", '<a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">', "", "CC BY-SA 4.0", None),
        ('<link rel="License" href="../terms">', "", "", "https://mill.example/terms", None),
        (
            "",
            "",
            'Link: </a.css>; rel="preload", <//creativecommons.org/licenses/by/3.0/us/>; rel="x license"\r\n',
            "CC BY 3.0",
            None,
        ),
        (
            '<meta name="DCTERMS.license" content="http://creativecommons.org/publicdomain/zero/1.0/">',
            "",
            "",
            "CC0 1.0",
            None,
        ),
        ('<meta name="dc.rights" content="All rights reserved">', "", "", None, None),
        (
            '<meta name="dc:rights" content="https://creativecommons.org/licenses/by-nc/4.0">',
            "",
            "",
            "CC BY-NC 4.0",
            None,
        ),
        # A link alone may be about a picture; and of two licences none is that of the page.
        ("", '<a href="https://creativecommons.org/licenses/by/2.0/">photo</a>', "", None, "CC BY 2.0"),
        ('<link rel=license href="/a"><link rel=license href="/b">', "", "", None, None),
        ('<link rel=license href="http://[::1">', "", "", "http://[::1", None),
    ],
)
def test_a_declared_licence_is_the_documents(
    head: str, body: str, header: str, licence: str | None, mentioned: str | None
) -> None:
    found = rights(head, body, header)
    assert (found.get("licence"), found.get("mentioned_licence")) == (licence, mentioned)
    assert captured(head, body, header).licence == licence


def test_other_meta_elements_say_nothing_of_rights() -> None:
    for name, content in (
        ("description", "noindex is a word"),
        ("og:title", "noai"),
        ("a b", "noindex"),
        ("", "noindex"),
    ):
        assert rights(f'<meta name="{name}" content="{content}">') == {}
    assert rights("<meta name=x content='" + "noindex " * 100_000 + "!'>") == {}


def test_addresses_that_are_no_licence_have_no_name() -> None:
    archived = "https://web.archive.org/web/2016id_/http://creativecommons.org/licenses/by-sa/3.0/de/"
    assert creative_commons(archived) == "CC BY-SA 3.0"
    assert creative_commons("https://creativecommons.org/licenses/") is None
    assert creative_commons("https://evil.example/creativecommons.org/licenses/by/4.0/") is None


@pytest.mark.parametrize("extractor", list(Extractor))
def test_every_extractor_keeps_what_is_said(extractor: Extractor) -> None:
    assert captured("<meta name=robots content=noai>", extractor=extractor).metadata["rights"] == "meta robots: noai"


def test_too_much_is_cut_and_says_so() -> None:
    many = "".join(f"<meta name=robots content='noindex, x{number}'>" for number in range(40_000))
    found = rights(many, header="X-Robots-Tag: " + "noai, " * 40_000 + "\r\n")
    assert (found["noindex"], found["noai"], found["cut"]) == (1, 1, 1)
    assert len(found["said"].split("\n")) == declared._MOST_LINES
    metadata = captured(many).metadata["rights"]
    assert isinstance(metadata, str) and metadata.endswith(f"\ncut: {40_000 - declared._MOST_LINES}")


@pytest.mark.parametrize(
    "value",
    [
        "<" * 50_000,
        "<a>" + ";" * 50_000,
        "<a>; rel" + " " * 50_000 + "license",
        '<a>; rel="' + " " * 50_000,
        '<a>;a="' * 9_000,
    ],
)
def test_a_hostile_link_field_says_nothing(value: str) -> None:
    assert rights(header=f"Link: {value}, license\r\n") == {}


def test_other_metadata_of_that_name_are_not_ours() -> None:
    document = Document("a", "text", None, None, "rows", None, {"rights": "All rights reserved: yes"})
    assert set(read_rights(documents_table([document]), RightsConfig()).to_pylist()[0].values()) == {None}
    with pytest.raises(ValueError, match="not the name of a robot"):
        RightsConfig(agents=("*",))


@pytest.mark.parametrize(
    "value", ["a=(" + "1 " * 100_000, "a" + ";b" * 100_000 + "!", 'a="' + "\\" * 200_000, "a=1," * 90_000]
)
def test_a_hostile_preference_says_nothing(value: str) -> None:
    assert usage_of(f"train-ai=n, {value}") == {}
