"""Archives made in tests: records, and their compressions record by record."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Callable, Iterable

from fastwarc.stream_io import Lz4Writer, ZstdWriter

from tasks.sources.archives import ArchiveFault, ArchiveRecord, read_records

HTML = b"<!doctype html><html><head><title>A page</title></head><body><article>%s</article></body></html>"
PARAGRAPH = "<p>The mill stands by the river, and its wheel has turned for three hundred years without a rest.</p>" * 5


def warc_record(
    block: bytes, kind: str = "response", number: int = 0, uri: str = "http://mill.example/", **fields: str
) -> bytes:
    """A WARC record with CRLF line ends; `fields` add to or replace its named fields (underscores are hyphens)."""
    named = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:00000000-0000-4000-8000-{number:012d}>",
        "WARC-Date": "2024-02-03T04:05:06Z",
        "WARC-Target-URI": uri,
        "Content-Type": "application/http; msgtype=response" if kind == "response" else "text/plain",
        "Content-Length": str(len(block)),
    } | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + block + b"\r\n\r\n"


def http_response(body: bytes, status: int = 200, **fields: str) -> bytes:
    """An HTTP response; its content type is text/html unless `Content_Type` says otherwise, '' for none."""
    named = {"Content-Type": "text/html"} | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
    return f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode() + body


def page(text: str = PARAGRAPH, status: int = 200, **fields: str) -> bytes:
    """A response with a small article in UTF-8."""
    return http_response(HTML.replace(b"%s", text.encode()), status, **fields)


def zstd_frame(data: bytes, dictionary: bytes | None = None) -> bytes:
    """One zstd frame, behind the skippable frame of its dictionary if it has one."""
    return _written(functools.partial(ZstdWriter, dictionary=dictionary), data)


def lz4_frame(data: bytes) -> bytes:
    """One LZ4 frame."""
    return _written(Lz4Writer, data)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstd_frame,
    "lz4": lz4_frame,
}


def stored(records: Iterable[bytes], compression: str) -> tuple[bytes, list[int]]:
    """Records compressed one by one, and the stored offset of each."""
    pieces: list[bytes] = []
    offsets: list[int] = []
    for record in records:
        offsets.append(sum(map(len, pieces)))
        pieces.append(COMPRESSIONS[compression](record))
    return b"".join(pieces), offsets


def read(data: bytes, **limits: int) -> tuple[list[ArchiveRecord], list[ArchiveFault]]:
    """The records and the faults of an archive in memory."""
    found = list(read_records(io.BytesIO(data), "made.warc", **limits))
    records = [item for item in found if isinstance(item, ArchiveRecord)]
    return records, [item for item in found if isinstance(item, ArchiveFault)]


def _written(writer: Callable[[io.BytesIO], ZstdWriter | Lz4Writer], data: bytes) -> bytes:
    target = io.BytesIO()
    frame = writer(target)
    while data:
        data = data[frame.write(data) :]
    frame.finish()
    frame.flush()
    return target.getvalue()
