"""Reading WARC files: our reader, which survives damage, against warcio's and FastWARC's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from fastwarc.warc import ArchiveIterator as FastWarcIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from tasks.sources.archives import ArchiveFault, read_records
from tests.bench.inputs import kind_of_crawl, whole_crawl
from tests.bench.measure import Side, Workload, compare
from tests.bench.report import print_comparison, print_head, print_row, row_of

ROUNDS = 5
Archives = tuple[Path, ...]
Record = tuple[str, str | None, str | None, bytes]
Seen = tuple[str, str | None, str | None, int, str]


def run() -> None:
    """Compare, time and print, with warcio and then with FastWARC."""
    archives = whole_crawl()
    ours = Side("millrace", read, our_records)
    records = our_records(archives)
    stored = sum(path.stat().st_size for path in archives)
    name = f"{kind_of_crawl()} crawl, {len(archives)} files of {stored / 1e6:.1f} MB"
    size = sum(length for *_, length, _ in records)
    workload = Workload(archives, name, len(records), "records", size, "of record blocks")
    about = "type, URI, id and whole block of every record, one thread, files in the page cache"
    print_head("archives", about, workload, ["warcio", "FastWARC"])
    for peer, floor in (
        (Side("warcio", read_with_warcio, warcio_records), 1.0),
        (Side("FastWARC", read_with_fastwarc, fastwarc_records), 0.9),
    ):
        found = compare(workload, ours, peer, ROUNDS)
        print_comparison(workload, ours.name, peer.name, found)
        print_row(row_of("WARC reading", peer.name, floor, workload, found, ["isal", "FastWARC", "warcio"]))


def read(archives: Archives) -> int:
    """The bytes of all blocks as our reader gives them."""
    return sum(len(block) for *_, block in _ours(archives))


def read_with_warcio(archives: Archives) -> int:
    """The same from warcio, which leaves HTTP alone when told so, as our reader does."""
    return sum(len(block) for *_, block in _warcio(archives))


def read_with_fastwarc(archives: Archives) -> int:
    """The same from FastWARC, which leaves HTTP alone when told so."""
    return sum(len(block) for *_, block in _fastwarc(archives))


def our_records(archives: Archives) -> list[Seen]:
    """What our reader sees: type, URI, id, and length and sha1 of the block."""
    return _seen(_ours(archives))


def warcio_records(archives: Archives) -> list[Seen]:
    """What warcio sees."""
    return _seen(_warcio(archives))


def fastwarc_records(archives: Archives) -> list[Seen]:
    """What FastWARC sees."""
    return _seen(_fastwarc(archives))


def _seen(records: Iterator[Record]) -> list[Seen]:
    return [(kind, uri, id, len(block), hashlib.sha1(block).hexdigest()) for kind, uri, id, block in records]


def _ours(archives: Archives) -> Iterator[Record]:
    for path in archives:
        with path.open("rb") as stream:
            for record in read_records(stream, path.name):
                if isinstance(record, ArchiveFault):
                    yield "fault", None, None, record.detail.encode()
                else:
                    yield record.type, record.uri, record.id, record.block


def _warcio(archives: Archives) -> Iterator[Record]:
    for path in archives:
        with path.open("rb") as stream:
            for record in WarcioIterator(stream, no_record_parse=True):
                headers = record.rec_headers
                uri, id = headers.get_header("WARC-Target-URI"), headers.get_header("WARC-Record-ID")
                yield headers["WARC-Type"], uri, id, record.raw_stream.read()


def _fastwarc(archives: Archives) -> Iterator[Record]:
    for path in archives:
        with path.open("rb") as stream:
            for record in FastWarcIterator(stream, parse_http=False):
                headers = record.headers
                uri, id = headers.get("WARC-Target-URI"), headers.get("WARC-Record-ID")
                yield headers["WARC-Type"], uri, id, record.reader.read()
