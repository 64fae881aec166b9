"""Mutated archives and lines: reading ends, accounts for what it read, and raises nothing that is not declared."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from infra.documents import documents_table
from infra.outcomes import Kept, read_all
from tasks.sources.archives import ArchiveFault, ArchiveRecord, read_records
from tasks.sources.codecs import Codec, detect_codec
from tasks.sources.jsonl import JsonLinesConfig, read_json_lines
from tests.tasks.sources.samples import COMPRESSIONS, http_response, stored, warc_record

pytestmark = pytest.mark.heavy

HEAVY = settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
RECORDS = [warc_record(http_response(b"<p>The mill %d stands." % number * 20), number=number) for number in range(4)]
ARC = [
    b"http://mill.example/%d 192.0.2.1 20240203040506 text/html 22\nThe mill stands by it.\n\n" % n for n in range(4)
]
DICTIONARY = b"\x5d\x2a\x4d\x18\x08\0\0\0the mill"
ARCHIVES = [stored(records, compression)[0] for records in (RECORDS, ARC) for compression in COMPRESSIONS]
ARCHIVES += [gzip.compress(b"".join(RECORDS), mtime=0), b"".join(RECORDS).replace(b"\r\n", b"\n")]
ARCHIVES += [DICTIONARY + stored(RECORDS, "zstd")[0]]
PIECES = [
    *(b"", b"\n", b"\r\n\r\n", b"\0", bytes(5000), b"\xef\xbb\xbf", b"\xff\xff\xff\x7f", b"WARC/1.0\r\n", b"A: b\r\n"),
    *(
        b"Content-Length: 99999999\r\n",
        b"Content-Length: -1\r\n",
        b"\x1f\x8b\x08\x08AAAAAA",
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    ),
    *(b"\x28\xb5\x2f\xfd\0\x58\0\0\0", b"\x04\x22\x4d\x18", b"\x50\x2a\x4d\x18\xff\xff\0\0", DICTIONARY),
    *(RECORDS[0], ARC[0], gzip.compress(b"", mtime=0), gzip.compress(RECORDS[1], mtime=0)),
]
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from([0, 1, 2, 5, 50, 500]), st.sampled_from(PIECES) | st.binary(max_size=40)
    ),
    min_size=1,
    max_size=5,
)


def mutated(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, put in changes:
        start = int(place * len(data))
        data = data[:start] + put + data[start + length :]
    return data


@HEAVY
@given(st.sampled_from(ARCHIVES), CHANGES, st.sampled_from([1 << 10, 1 << 20, 64 << 20]))
def test_a_mutated_archive_ends_in_records_and_faults_in_order(
    archive: bytes, changes: list[tuple[float, int, bytes]], largest: int
) -> None:
    data = mutated(archive, changes)
    found = list(read_records(io.BytesIO(data), "made.warc", largest))
    assert len(found) < 500
    places = [(item.offset, item.inner) for item in found if isinstance(item, ArchiveRecord)]
    assert places == sorted(set(places))
    for item in found:
        assert 0 <= item.offset <= len(data)
        if isinstance(item, ArchiveFault):
            assert item.bytes >= 0
            assert item.detail
        else:
            assert len(item.block) <= largest
    # Plain bytes are read once each, so what was read is no more than there is.
    if archive[:1] in (b"W", b"h") and not any(isinstance(item, ArchiveFault) and item.offset for item in found):
        covered = sum(len(item.block) if isinstance(item, ArchiveRecord) else item.bytes for item in found)
        assert covered <= len(data)


@HEAVY
@given(CHANGES, st.integers(0, 2))
def test_a_record_that_no_change_touches_is_read(changes: list[tuple[float, int, bytes]], before: int) -> None:
    """Whatever stands between sound members, they are read."""
    first, rest = (stored(records, "gzip")[0] for records in (RECORDS[:1], RECORDS[1 : before + 1]))
    damaged = first + mutated(rest, changes)
    data = damaged + gzip.compress(RECORDS[3], mtime=0)
    found = list(read_records(io.BytesIO(data), "made.warc"))
    assert any(isinstance(item, ArchiveRecord) and (item.offset, item.inner) == (len(damaged), 0) for item in found)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.text(st.characters(categories=["Cs", "Cc", "Zl"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "id", "url", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["text", "id", "url", "date", "lang"]), VALUES, max_size=5)
LINES = st.one_of(
    OBJECTS.map(lambda value: json.dumps(value).encode()),
    OBJECTS.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        [b"[" * 3000, b'{"text": "' + b"x" * 3000, b"", b" \t", b"\xef\xbb\xbf", b'{"text": ' + b"9" * 5000]
    ),
)
CONFIG = JsonLinesConfig(id_field="id", date_field="date", metadata_fields=("lang", "a"), max_line_bytes=2048)


@HEAVY
@given(st.lists(LINES, max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from(["none", "gzip", "zstd", "lz4"]))
def test_each_line_is_one_outcome_that_can_be_stored(lines: list[bytes], end: bytes, compression: str) -> None:
    text = end.join(lines)
    data = COMPRESSIONS[compression](text)
    assume(compression != "none" or detect_codec(data) is Codec.none)
    outcomes = list(read_all(read_json_lines(io.BytesIO(data), "made.jsonl", CONFIG)))
    assert len(outcomes) == sum(bool(line.strip()) for line in text.split(b"\n"))
    documents = [outcome.document for outcome in outcomes if isinstance(outcome, Kept)]
    table = documents_table(documents)
    for row in table.to_pylist():
        json.loads(row["metadata"], parse_constant=pytest.fail)
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    again = list(read_all(read_json_lines(io.BytesIO(data), "made.jsonl", CONFIG)))
    assert again == outcomes
