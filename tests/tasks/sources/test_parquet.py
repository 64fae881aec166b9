"""Parquet files: rows of every type, and files that are broken."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.outcomes import Dropped, Failed, Kept, Outcome, Record, read_all
from tasks.sources.parquet import ParquetConfig, read_parquet


def stored(table: pa.Table, **options: Any) -> bytes:
    data = io.BytesIO()
    pq.write_table(table, data, **options)
    return data.getvalue()


def found_in(data: bytes, **config: Any) -> Iterator[Record | Outcome]:
    return read_parquet(io.BytesIO(data), "x.parquet", ParquetConfig.model_validate(config))


def read(data: bytes, **config: Any) -> list[Outcome]:
    return list(read_all(found_in(data, **config)))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_rows_are_documents(kind: pa.DataType) -> None:
    when = [datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), None, None]
    table = pa.table(
        {
            "text": pa.array(["one", "two", ""], pa.string()).cast(kind),
            "key": [1, 2, 3],
            "when": when,
            "meta": [{"set": "A", "n": 1.5}, None, {"set": "B", "n": 2.5}],
            "unread": [b"\xff"] * 3,
        }
    )
    config = {"id_field": "key", "date_field": "when", "metadata_fields": ("meta.set", "meta.n")}
    one, two, empty = read(stored(table, row_group_size=2), **config)
    assert isinstance(one, Kept) and isinstance(two, Kept) and isinstance(empty, Dropped)
    assert (one.document.id, one.document.text) == ("parquet/1", "one")
    assert one.document.date == "2020-01-02T00:00:00+00:00"
    assert one.document.metadata == {"offset": 0, "meta.set": "A", "meta.n": 1.5}
    assert two.document.metadata == {"offset": 1} and empty.reason == "empty_text"


def test_a_broken_group_of_rows_leaves_the_others() -> None:
    table = pa.table({"text": [f"the text of row {number}" for number in range(40)]})
    data = bytearray(stored(table, row_group_size=10, compression="zstd", use_dictionary=False))
    place = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(1).column(0).data_page_offset
    data[place + 20 : place + 60] = b"\xff" * 40
    outcomes = read(bytes(data))
    kept = [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)]
    assert kept == [f"the text of row {number}" for number in range(40) if not 10 <= number < 20]
    [failed] = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert (failed.reason, failed.offset) == ("broken_row_group", 10)
    assert "row group 1, from row 10" in failed.example and "10 rows are lost" in failed.example


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(40) + b"PAR1"])
def test_what_is_no_parquet_is_one_failure(data: bytes) -> None:
    [failed] = read(data)
    assert isinstance(failed, Failed) and failed.reason == "not_parquet" and failed.bytes == len(data)


def test_a_truncated_file_is_one_failure() -> None:
    data = stored(pa.table({"text": ["a"] * 100}))
    [failed] = read(data[: len(data) // 2])
    assert isinstance(failed, Failed) and failed.reason == "not_parquet"


def test_rows_that_cannot_be_read_fail_alone() -> None:
    texts = pa.array([b"good", b"\xff\xfe", b"x" * 2000, b"also good"], pa.binary())
    data = stored(pa.table({"text": pa.Array.from_buffers(pa.string(), 4, texts.buffers())}))
    outcomes = read(data, max_text_bytes=1024)
    assert [type(outcome) for outcome in outcomes] == [Kept, Failed, Failed, Kept]
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)] == ["not_utf8", "row_too_large"]


@pytest.mark.parametrize("table", [pa.table({"body": ["a", "b"]}), pa.table({"text": [1, 2]})])
def test_rows_without_the_text_say_so(table: pa.Table) -> None:
    outcomes = read(stored(table))
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)] == ["no_text"] * 2


def test_rows_are_read_a_few_at_a_time() -> None:
    size = 1 << 16
    texts = [f"{number:04}" * (size // 4) for number in range(400)]
    # Arrow holds a page as a whole: most writers make small ones.
    data = stored(pa.table({"text": texts}), use_dictionary=False, write_batch_size=8)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    most = 0
    for record in found_in(data):
        assert isinstance(record, Record)
        record.outcome()
        most = max(most, pool.bytes_allocated() - before)
    assert most < 400 * size / 2


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.json_()])
def test_the_bytes_of_a_text_count_whatever_the_type_of_its_column(kind: pa.DataType) -> None:
    texts = pa.array(["one", "x" * 2000]).cast(kind)
    for table, field in (
        (pa.table({"text": texts}), "text"),
        (pa.table({"m": pa.table({"t": texts}).to_struct_array()}), "m.t"),
    ):
        data = stored(table)
        first = next(found_in(data, text_field=field))
        assert isinstance(first, Record) and first.data == b"one"
        one, large = read(data, text_field=field, max_text_bytes=1024)
        assert isinstance(one, Kept) and one.bytes == 3
        assert isinstance(large, Failed) and large.reason == "row_too_large" and large.bytes == 2000


def test_a_column_whose_name_is_not_its_own_is_one_failure() -> None:
    twice = pa.table([pa.array(["one"]), pa.array(["two"]), pa.array(["three"])], names=["text", "text", "other"])
    [failed] = read(stored(twice))
    assert isinstance(failed, Failed) and failed.reason == "repeated_column" and "'text'" in failed.example
    [kept] = read(stored(twice), text_field="other")
    assert isinstance(kept, Kept) and kept.document.text == "three"


def test_a_time_zone_that_nobody_knows_fails_its_row() -> None:
    times = pa.array([1, None], pa.timestamp("us", tz="Mars/Base"))
    failed, kept = read(stored(pa.table({"text": ["one", "two"], "when": times})), date_field="when")
    assert isinstance(failed, Failed) and failed.reason == "broken_row_group" and "Mars/Base" in failed.example
    assert isinstance(kept, Kept) and kept.document.text == "two"


@pytest.mark.parametrize("encoding", ["PLAIN_DICTIONARY", "DELTA_BYTE_ARRAY"])
def test_values_that_repeat_in_a_few_stored_bytes_are_not_in_memory_together(encoding: str) -> None:
    size, rows = 1 << 18, 200
    options: dict[str, Any] = {"compression": "zstd"}
    if encoding == "DELTA_BYTE_ARRAY":
        options |= {"use_dictionary": False, "column_encoding": {"text": encoding}}
    data = stored(pa.table({"text": ["x" * size] * rows}), **options)
    assert len(data) < 4096
    before, most, read_rows = pa.total_allocated_bytes(), 0, 0
    for record in found_in(data):
        read_rows += 1
        assert isinstance(record, Record) and len(record.data) == size
        most = max(most, pa.total_allocated_bytes() - before)
    assert read_rows == rows and most < 16 * size


def test_the_keys_of_a_map_are_fields() -> None:
    maps = [[("set", "A")], [("other", "A")], [("set", "A"), ("set", "B")]]
    table = pa.table({"text": ["one", "two", "three"], "meta": pa.array(maps, pa.map_(pa.string(), pa.string()))})
    one, without, twice = read(stored(table), part_field="meta.set", parts={"A": "a"})
    assert isinstance(one, Kept) and one.document.metadata["part"] == "a"
    assert isinstance(without, Failed) and without.reason == "no_part"
    assert isinstance(twice, Failed) and twice.reason == "broken_row_group" and "duplicate key" in twice.example
