"""Lists of addresses: which entry is about a URL, compared with a look at every entry."""

from __future__ import annotations

import gzip
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from infra.documents import documents_table
from infra.outcomes import Document
from tasks.addresses import lists
from tasks.addresses.entries import key_of_entry
from tasks.addresses.lists import AddressFile, AddressLists
from tasks.blocklists import BlocklistsConfig, find_blocked, load_blocklists, try_blocklists
from tasks.model_files import model_files
from tasks.opt_outs import OptOutsConfig, describe_opt_out, find_opt_outs, load_opt_outs, try_opt_outs
from tasks.text.urls import host_of, parse_url, registered_domain
from tasks.urls import UrlsConfig, read_urls


def listed(folder: Path, text: str | bytes, below: bool = False, strict: bool = True) -> AddressLists:
    path = folder / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return AddressLists([AddressFile("list.txt", path, below, strict)])


def found(entries: AddressLists, url: str) -> list[str]:
    parts = parse_url(url)
    return [] if parts is None else [entry.address for entry in entries.about(parts)]


@pytest.mark.parametrize(
    ("entry", "about", "not_about"),
    [
        (
            "example.org",
            ["http://example.org/", "https://A.B.Example.ORG:8080/x"],
            ["http://notexample.org/", "http://org/"],
        ),
        ("*.example.org", ["http://example.org/", "http://a.example.org/"], ["http://example.com/"]),
        (".example.org", ["http://a.example.org/"], []),
        ("\u00fcber.example", ["http://xn--ber-goa.example/", "http://\u00dcBER.example/"], []),
        ("[2001:db8::1]", ["http://[2001:DB8:0::1]:8080/x"], ["http://[2001:db8::2]/"]),
        ("192.0.2.1", ["http://192.0.2.1/"], ["http://1.192.0.2.1.example/"]),
        (
            "https://example.org/a",
            ["http://www.example.org/a/", "https://u:p@example.org:443/a#x", "http://example.org/%61"],
            ["http://example.org/a/b", "http://example.org/a?q", "http://sub.example.org/a", "http://example.org/A"],
        ),
        ("example.org/a?q=1", ["http://example.org/a?q=1"], ["http://example.org/a", "http://example.org/a?q=2"]),
        ("https://example.org/a*", ["http://example.org/a", "http://example.org/abc/d?e"], ["http://example.org/b"]),
        ("https://example.org/a/*", ["http://example.org/a/", "http://www.example.org/a/b"], ["http://example.org/a"]),
        ("https://example.org/*", ["http://example.org", "http://example.org/x"], ["http://sub.example.org/"]),
        ("https://example.org", ["http://www.example.org", "http://example.org/x?q"], ["http://sub.example.org/"]),
        ("example.org/", ["http://example.org", "http://example.org/x"], ["http://example.org.uk/"]),
        ("https://example.org/?q", ["http://example.org/?q"], ["http://example.org/"]),
    ],
)
def test_what_an_entry_is_about(entry: str, about: list[str], not_about: list[str], tmp_path: Path) -> None:
    entries = listed(tmp_path, entry)
    assert [found(entries, url) for url in about] == [[entry]] * len(about)
    assert [found(entries, url) for url in not_about] == [[]] * len(not_about)


HOSTS = strategies.sampled_from(["a.example", "b.a.example", "www.a.example", "c.example", "1.2.3.4"])
PATHS = strategies.sampled_from(["", "/", "/x", "/x/", "/x/y", "/x/y?q", "/x?q", "/xy", "/%78/y"])
ADDRESSES = strategies.tuples(HOSTS, PATHS).map("".join)
ENTRIES = ADDRESSES.flatmap(lambda one: strategies.sampled_from([one, f"http://{one}", f"http://{one}*"]))


@hypothesis.settings(deadline=None, max_examples=150)
@hypothesis.given(strategies.lists(ENTRIES, max_size=6), ADDRESSES, strategies.booleans())
def test_a_look_up_finds_what_a_look_at_every_entry_finds(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], url: str, below: bool
) -> None:
    def plain(address: str) -> str:
        return address.replace("%78", "x").removeprefix("http://").removeprefix("www.")

    def is_about(entry: str) -> bool:
        target = plain(url) if "/" in plain(url) else plain(url) + "/"
        own = plain(entry)
        if "/" not in entry:
            host = url.partition("/")[0]
            return host == entry or host.endswith("." + entry)
        if own.endswith("*"):
            own = own[:-1]
            return target.startswith(own if "/" in own else own + "/")
        if target.rstrip("/") == own.rstrip("/"):
            return True
        if own.rstrip("/") == target.partition("/")[0]:
            return True
        own, path = own.rstrip("/"), target.partition("?")[0].rstrip("/")
        return below and "?" not in own and (path == own or path.startswith(own + "/"))

    entries = listed(tmp_path_factory.mktemp("lists"), "\n".join(written), below)
    assert sorted(found(entries, f"https://{url}")) == sorted(entry for entry in written if is_about(entry))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a.example\n\n# x\nhttp://[::1\n", "list.txt, line 4: 'http://.::1' is no host"),
        ("ftp://a.example/", "line 1"),
        ("a..example", "line 1"),
        ("a.example,2026-01-01", "line 1"),
        ("address=/a.example/", "line 1"),
        ("https://*.a.example/", "line 1"),
        ("http://a.example/*/b", "line 1"),
        ("http://a.example/" + "x" * 3_000 + "*", "line 1"),
        ("a" * 20_000, "line 1: it has 20000 bytes"),
        (b"a.example\n\xff\xfe", "line 2: it is not UTF-8"),
        ("\n".join(f"http://a.example/{'x' * n}*" for n in range(lists._MOST_LENGTHS + 1)), "different lengths"),
    ],
)
def test_a_line_that_is_no_entry_is_named(text: str | bytes, error: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=error):
        listed(tmp_path, text)


def test_marks_and_blank_lines_are_no_entries(tmp_path: Path) -> None:
    entries = listed(tmp_path, b"\xef\xbb\xbfa.example\r\n   \r\n#b.example\r\n\tc.example\t2026-01-01\r\n")
    assert [(entry.line, entry.address, entry.rest) for entry in entries.about(parse_url("http://a.example/x"))] == [
        (1, "a.example", "")
    ]  # type: ignore[arg-type]
    assert [(entry.line, entry.rest) for entry in entries.about(parse_url("http://c.example/x"))] == [(4, "2026-01-01")]  # type: ignore[arg-type]
    assert found(entries, "http://b.example/") == [] and found(listed(tmp_path, ""), "http://b.example/") == []


def test_hosts_have_one_spelling() -> None:
    assert [host_of(name) for name in ("EXAMPLE.org.", "ex%41mple.org", "a_b.example", "\u3002example")] == [
        *("example.org", "example.org", "a_b.example"),
        None,
    ]
    for wrong in (None, "", ".", "a..b", "a b", "x" * 300, "\u00fc" * 300, "a<b", "fe80::1%eth0", "%00"):
        assert host_of(wrong) is None, wrong
    assert [registered_domain(host) for host in ("a.b.co.uk", "x.github.io", "github.io", "192.0.2.1", "[::1]")] == [
        *("b.co.uk", "x.github.io"),
        *(None, None, None),
    ]


def documents(*urls: str | None) -> object:
    return documents_table([Document(str(n), "text", url, None, "web", None) for n, url in enumerate(urls)])


def test_urls_are_columns() -> None:
    config = UrlsConfig(allow=("Example.org",), deny=("bad.example.org", "[::1]"))
    urls = ("https://u@www.Example.org:8443/x", "http://a.bad.example.org/", "http://[::1]/", "http://[::1", None, "x")
    assert read_urls(documents(*urls), config).to_pylist() == [
        {"host": "www.example.org", "domain": "example.org", "allowed": 1, "denied": 0},
        {"host": "a.bad.example.org", "domain": "example.org", "allowed": 1, "denied": 1},
        {"host": "[::1]", "domain": None, "allowed": 0, "denied": 1},
        *[{"host": None, "domain": None, "allowed": None, "denied": None}] * 3,
    ]
    assert set(read_urls(documents(urls[0]), UrlsConfig()).to_pylist()[0].values()) == {
        "www.example.org",
        "example.org",
        None,
    }
    for wrong in ("http://x", "a.*.example", "a.example,b.example"):
        with pytest.raises(ValueError, match="is not a host"):
            UrlsConfig(deny=(wrong,))
    assert UrlsConfig(deny=("*.Example.org", ".example.org")).deny == ("example.org", "example.org")


@pytest.mark.parametrize(
    "content",
    [
        b"0.0.0.0 bad.example\n0.0.0.0 worse.example\n",
        b"||bad.example^\n",
        b"address=/bad.example/0.0.0.0\n",
        b"bad.example\rworse.example\r",
        b"bad.example,adult\nworse.example,adult\n",
        "bad.example\nworse.example\n".encode("utf-16"),
        gzip.compress(b"bad.example\n", mtime=0),
        b"<html><body>404 not found</body></html>\n",
    ],
)
def test_a_blocklist_of_another_format_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "adult.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"adult\.txt.*no list of addresses.*Give plain text with one of these a line"):
        try_blocklists({"adult.txt": tmp_path / "adult.txt"})


def test_comments_and_some_wrong_lines_are_no_other_format(tmp_path: Path) -> None:
    (tmp_path / "adult.txt").write_text("bad.example # since 2020\n-not a host-\nworse.example\n")
    try_blocklists({"adult.txt": tmp_path / "adult.txt"})
    (tmp_path / "adult.txt").write_text("# nothing yet\n")
    try_blocklists({"adult.txt": tmp_path / "adult.txt"})


def test_a_deep_url_does_not_leave_the_folder_above_it(tmp_path: Path) -> None:
    entries = listed(tmp_path, "a.example/x/\nb.example/\n", below=True)
    for depth in (1, 62, 63, 64, 65, 1000):
        assert found(entries, f"http://a.example/x/{'y/' * depth}z?q") == ["a.example/x/"]
        assert found(entries, f"http://b.example/{'y/' * depth}z") == ["b.example/"]


def test_blocklists_have_categories(tmp_path: Path) -> None:
    for category, name, text in (
        ("adult", "domains", "bad.example\n-not a host-\n"),
        ("adult", "urls", "mixed.example/adult\n"),
        ("adult", "expressions", "(sex|porn)\n"),
        ("gambling", "domains", "bad.example\nbet.example\n"),
    ):
        (tmp_path / "ut1" / category).mkdir(parents=True, exist_ok=True)
        (tmp_path / "ut1" / category / name).write_text(text)
    (tmp_path / "ut1" / "README").write_text("How to use it\n")
    files = model_files(find_blocked, str(tmp_path / "ut1")).local
    assert "adult/domains" in files
    paths = {name: Path(path) for name, path in files.items()}
    urls = (
        "http://www.bad.example/",
        "http://bet.example/",
        "http://mixed.example/adult/x?y",
        "http://mixed.example/adults",
        None,
    )
    every = find_blocked(documents(*urls), BlocklistsConfig(), load_blocklists(BlocklistsConfig(), paths)).to_pylist()
    assert [(row["blocked"], row["blocked_by"], row["entry"]) for row in every] == [
        (1, "adult, gambling", "bad.example"),
        (1, "gambling", "bet.example"),
        (1, "adult", "mixed.example/adult"),
        (0, None, None),
        (0, None, None),
    ]
    only = BlocklistsConfig(categories=("adult",))
    rows = find_blocked(documents(*urls), only, load_blocklists(only, paths)).to_pylist()
    assert [row["blocked_by"] for row in rows] == ["adult", None, "adult", None, None]
    with pytest.raises(ValueError, match="category malware; there are adult, gambling"):
        load_blocklists(BlocklistsConfig(categories=("malware",)), paths)
    with pytest.raises(ValueError, match="is no list"):
        try_blocklists({"README": tmp_path / "ut1" / "README"})


def test_opt_outs_have_dates(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.example 2026-02-01\nhttp://a.example/x 2026-01-01\nb.example\n")
    try_opt_outs({"list.txt": path})
    urls = ("http://a.example/", "http://a.example/x", "http://b.example/", "http://c.example/", None)
    for as_of, hits in ((None, [1, 1, 1, 0, 0]), ("2026-01-31", [0, 1, 1, 0, 0]), ("2026-02-01", [1, 1, 1, 0, 0])):
        config = OptOutsConfig.model_validate({"as_of": as_of})
        table = find_opt_outs(documents(*urls), config, load_opt_outs(config, {"list.txt": path}))
        assert table["hit"].to_pylist() == hits
    rows = table.to_pylist()
    assert rows[1] == {"hit": 1, "entry": "http://a.example/x", "since": "2026-01-01"}
    assert describe_opt_out(rows[1]) == ["opted out by http://a.example/x, of 2026-01-01"]
    assert describe_opt_out(rows[2]) == ["opted out by b.example"] and "no opt-out" in describe_opt_out(rows[3])[0]
    path.write_text("a.example yesterday\n")
    with pytest.raises(ValueError, match="line 1: 'yesterday' is no date"):
        model_files(find_opt_outs, str(path))


def test_keys_are_bounded() -> None:
    assert key_of_entry("http://a.example/" + "x/" * 5_000) is not None
    assert (
        key_of_entry("javascript:alert(1)") is None and key_of_entry("") is None and key_of_entry("mailto://x") is None
    )
