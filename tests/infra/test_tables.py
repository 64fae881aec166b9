"""Content digests: of values and their order, never of how they are cut or encoded."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.documents import EDITS_TYPE
from infra.tables import ContentDigest, TableWriter, read_row_groups, read_table

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("number", pa.int32()),
        ("score", pa.float64()),
        ("flag", pa.bool_()),
        ("hash", pa.binary(4)),
        ("ids", pa.list_(pa.uint16())),
        ("edits", EDITS_TYPE),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=8),
            "number": st.none() | st.integers(-5, 5),
            "score": st.none() | st.floats(allow_nan=False),
            "flag": st.none() | st.booleans(),
            "hash": st.none() | st.binary(min_size=4, max_size=4),
            "ids": st.none() | st.lists(st.integers(0, 9), max_size=3),
            "edits": st.none()
            | st.lists(
                st.fixed_dictionaries(
                    {
                        "start": st.integers(0, 9),
                        "end": st.integers(0, 9),
                        "replacement": st.none() | st.text(max_size=2),
                    }
                ),
                max_size=2,
            ),
        }
    ),
    max_size=12,
)


def digest_of(*tables: pa.Table) -> str:
    digest = ContentDigest(SCHEMA)
    for table in tables:
        digest.update(table)
    return digest.hexdigest()


@given(ROWS, st.integers(0, 12))
def test_cuts_do_not_change_the_digest(rows: list[dict[str, object]], cut: int) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    assert digest_of(table) == digest_of(table.slice(0, cut), table.slice(cut))


@given(ROWS, ROWS)
def test_other_values_have_another_digest(left: list[dict[str, object]], right: list[dict[str, object]]) -> None:
    same = repr([sorted(row.items()) for row in left]) == repr([sorted(row.items()) for row in right])
    assert (digest_of(pa.Table.from_pylist(left, SCHEMA)) == digest_of(pa.Table.from_pylist(right, SCHEMA))) == same


def test_the_encoding_does_not_change_the_digest(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", None, "ü"] * 500}, schema=pa.schema([("text", pa.string())]))
    pq.write_table(table, tmp_path / "x.parquet", compression="gzip", row_group_size=7, use_dictionary=False)
    digest = ContentDigest(table.schema)
    for group in read_row_groups(tmp_path / "x.parquet"):
        digest.update(group)
    writer = TableWriter(tmp_path / "y.parquet", table.schema)
    writer.write(table)
    assert writer.close().content == digest.hexdigest()


def test_what_is_read_back_has_the_digest_of_what_was_written(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 1, "replacement": ""}]
    table = pa.Table.from_pylist([{"ids": [1], "edits": spans}, {"ids": [], "edits": None}], SCHEMA)
    writer = TableWriter(tmp_path / "x.parquet", SCHEMA)
    writer.write(table)
    written = writer.close()
    back = read_table(tmp_path / "x.parquet")
    digest = ContentDigest(back.schema)
    digest.update(back)
    assert digest.hexdigest() == written.content


def test_an_annotation_of_another_shard_is_refused(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "x.parquet", pa.schema([("n", pa.int64())]), about="a" * 64)
    writer.write(pa.table({"n": [1]}))
    writer.close()
    assert read_table(tmp_path / "x.parquet", about="a" * 64).num_rows == 1
    with pytest.raises(ValueError, match="annotates the shard aaaaaaaaaaaa, not bbbbbbbbbbbb"):
        read_table(tmp_path / "x.parquet", about="b" * 64)
