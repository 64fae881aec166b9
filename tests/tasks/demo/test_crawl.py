"""The crawl of the demo: real archives, the same bytes every time, and broken where they are meant to be."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.stream_io import Lz4Reader, ZstdReader
from fastwarc.warc import ArchiveIterator, WarcRecordType
from warcio.archiveiterator import ArchiveIterator as ReferenceIterator

from tasks.demo import texts
from tasks.demo.archives import http_response, stored_member, torn_gzip, warc_record
from tasks.demo.crawl import LIBRARY_FILE, PACKAGES_FILE, make_crawl
from tasks.demo.planted import ARC_FILE, DAMAGED_FILE, KEPT, MIRROR_FILE, PAGES_FILE, STRUCK, planted_records
from tasks.demo.rendering import own_page, page_of, render

FILES = [LIBRARY_FILE, PACKAGES_FILE, ARC_FILE, PAGES_FILE, MIRROR_FILE, DAMAGED_FILE]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name → path of each archive."""
    return {path.name: path for path in make_crawl(tmp_path_factory.mktemp("crawl"))}


def test_the_same_machine_gives_the_same_bytes(crawl: dict[str, Path], tmp_path: Path) -> None:
    again = make_crawl(tmp_path)
    assert [path.name for path in again] == FILES == list(crawl)
    for path in again:
        assert path.read_bytes() == crawl[path.name].read_bytes(), path.name


def test_a_second_call_replaces_the_files_of_the_first(tmp_path: Path) -> None:
    (tmp_path / MIRROR_FILE).write_bytes(b"left by a call that was killed" * 10_000)
    for path in make_crawl(tmp_path):
        assert b"left by a call" not in path.read_bytes()


@pytest.mark.parametrize("name", [LIBRARY_FILE, ARC_FILE, MIRROR_FILE])
def test_the_reference_reader_reads_them(crawl: dict[str, Path], name: str) -> None:
    with crawl[name].open("rb") as stream:
        types = Counter(record.rec_type for record in ReferenceIterator(stream, arc2warc=name == ARC_FILE))
    planted = Counter(record.kind for record in planted_records() if record.file == name)
    assert types["warcinfo"] == 1
    if name == MIRROR_FILE:
        assert types == planted + Counter(warcinfo=1)
    else:
        assert types["response"] >= 20
        assert types["request"] == (0 if name == ARC_FILE else types["response"])


def test_records_are_members_of_their_own(crawl: dict[str, Path]) -> None:
    starts = {LIBRARY_FILE: b"\x1f\x8b\x08", PACKAGES_FILE: b"\x28\xb5\x2f\xfd", PAGES_FILE: b"\x04\x22\x4d\x18"}
    for name, magic in starts.items():
        data = crawl[name].read_bytes()
        records = 1 + sum(record.file == name for record in planted_records())
        assert data.startswith(magic)
        assert data.count(magic) >= records


def test_digests_of_blocks_hold(crawl: dict[str, Path]) -> None:
    for name in (LIBRARY_FILE, MIRROR_FILE):
        with crawl[name].open("rb") as stream:
            for record in ArchiveIterator(stream, parse_http=False):
                assert record.verify_block_digest(), record.record_id


def test_every_record_has_an_id_of_its_own_but_the_planted_one(crawl: dict[str, Path]) -> None:
    ids: Counter[str] = Counter()
    for name in (LIBRARY_FILE, PACKAGES_FILE, PAGES_FILE, MIRROR_FILE):
        with crawl[name].open("rb") as file:
            ids.update(record.record_id for record in ArchiveIterator(_plain(file, name), parse_http=False))
    assert [count for count in ids.values() if count > 1] == [2]


def test_the_crawl_is_large_enough_to_train_on_and_small_enough_to_wait_for(crawl: dict[str, Path]) -> None:
    pages = [*texts.module_pages(), *texts.package_pages(), *texts.topic_pages()]
    assert 100 <= len(pages) <= 1_500
    assert 500_000 <= sum(page.characters for page in pages) <= 8_000_000
    assert all(page.characters >= 600 for page in pages)
    assert sum(path.stat().st_size for path in crawl.values()) < 10 << 20


def test_what_is_installed_beside_python_changes_nothing(tmp_path: Path) -> None:
    """Two processes: one sees our packages, the other none of them but a distribution that nobody else has."""
    extra = tmp_path / "extra"
    (extra / "strange-1.0.dist-info").mkdir(parents=True)
    (extra / "strange-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: strange\nVersion: 1.0\nSummary: a package\n\n" + "It has a description. " * 100
    )
    (extra / "strange-1.0.dist-info" / "LICENSE").write_text("Nobody may use it. " * 100)
    (extra / "strange-1.0.dist-info" / "RECORD").write_text("strange-1.0.dist-info/LICENSE,,\n")
    here = Path(__file__).resolve().parents[3]
    # The crawl's writers need two packages: they are imported first, then everything installed goes out of sight.
    hide = (
        "import sys, brotli, fastwarc.stream_io; "
        f"sys.path = [{str(here)!r}, {str(extra)!r}] + [p for p in sys.path if 'site-packages' not in p]; "
    )
    code = (
        "import importlib.metadata as m, sys, pathlib; from tasks.demo.crawl import make_crawl; "
        "make_crawl(pathlib.Path(sys.argv[1])); print(sorted(d.name for d in m.distributions()))"
    )
    seen = [
        subprocess.run(
            [sys.executable, "-c", prelude + code, str(tmp_path / name)],
            cwd=here,
            text=True,
            capture_output=True,
            check=True,
        ).stdout.strip()
        for name, prelude in (("ours", ""), ("other", hide))
    ]
    assert "prefect" in seen[0] and "strange" not in seen[0] and seen[1] == "['strange']"
    for name in FILES:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_a_machine_without_help_topics_has_a_crawl_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    paths = make_crawl(tmp_path)
    assert [path.name for path in paths] == FILES
    with paths[0].open("rb") as stream:
        assert sum(1 for _ in ArchiveIterator(stream, record_types=WarcRecordType.response)) > 50


def test_our_own_pages_are_in_many_languages_and_long_enough() -> None:
    kept = [record for record in planted_records() if record.file == PAGES_FILE and record.fate == KEPT]
    languages = [record.name for record in kept if len(record.name) == 2]
    assert len(languages) >= 6
    for name in languages:
        page = own_page(name)
        assert page.language == name
        assert sum(len(block.text.split()) for block in page.blocks) >= 250


def test_planted_records_name_what_they_copy() -> None:
    records = {record.name: record for record in planted_records()}
    copies = [record for record in records.values() if record.copy_of]
    assert len(copies) >= 6
    for copy in copies:
        original = records[copy.copy_of]
        assert original.is_document and copy.is_document
        assert (copy.fate == STRUCK) == (original.fate == STRUCK)
    for record in records.values():
        assert record.why and (record.fate == KEPT or record.fate.count(":") == 2)


def test_a_near_copy_shares_no_line_with_its_original() -> None:
    for record in planted_records():
        if record.copy_of and record.copy_of != "night" and not record.name.startswith("ferry"):
            original = {block.text for block in own_page(record.copy_of).blocks}
            assert not original & set(record.block.decode().replace("</p>", "\n").replace("<p>", "").split("\n"))


def test_text_is_escaped_and_a_charset_that_cannot_hold_it_is_refused() -> None:
    page = page_of("a < b", ["x & <y>"], "ru")
    assert b"<h1>a &lt; b</h1>" in render(page) and b"<p>x &amp; &lt;y&gt;</p>" in render(page)
    with pytest.raises(UnicodeEncodeError):
        render(own_page("ru"), "iso-8859-1")


def test_a_torn_member_can_be_read_to_its_half() -> None:
    data = bytes(range(256)) * 100
    inflater = zlib.decompressobj(wbits=31)
    most = len(data) // 2 - 1
    assert inflater.decompress(torn_gzip(data), most) == data[:most]
    with pytest.raises(zlib.error, match="invalid block type"):
        inflater.decompress(inflater.unconsumed_tail)


@pytest.mark.parametrize("file", ["a.gz", "a.zst", "a.lz4"])
@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "br"])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_written_is_what_is_read(file: str, encoding: str, chunked: bool) -> None:
    body = render(own_page("en"))
    block = http_response(body, encoding=encoding, chunked=chunked)  # type: ignore[arg-type]
    record = warc_record("response", "http://a.example/", "2024-02-03T04:05:06Z", "application/http", block)
    stored = io.BytesIO(stored_member(record, file))
    assert [read.reader.read() for read in ArchiveIterator(_plain(stored, file), auto_decode="all")] == [body]


def _plain(stream: io.BufferedIOBase | io.BytesIO, name: str) -> object:
    if name.endswith(".zst"):
        return ZstdReader(stream)
    return Lz4Reader(stream) if name.endswith(".lz4") else stream
