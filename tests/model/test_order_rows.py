"""Rows in stored order, as Pythia's pre-shuffled sets are, and files that a reader of another hand understands."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from infra.store.tokens import TokenFile
from model.order import (
    DataOrder,
    MixtureSource,
    NeoxOrder,
    Order,
    RowOrder,
    tokens_digest,
    write_rows,
)
from tests.model.support.small_tokens import VOCABULARY, counting_file, source

BATCH = 8


def read_by_the_table(folder: Path, name: str) -> list[list[int]]:
    """All sequences of a Megatron pair, with nothing but the table of its format."""
    raw = (folder / f"{name}.idx").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00"
    version, code, count, boundaries = struct.unpack_from("<QBQQ", raw, 9)
    assert (version, boundaries) == (1, count + 1)
    letter, width = {8: ("H", 2), 4: ("i", 4)}[code]
    sizes = struct.unpack_from(f"<{count}i", raw, 34)
    pointers = struct.unpack_from(f"<{count}q", raw, 34 + 4 * count)
    documents = struct.unpack_from(f"<{boundaries}q", raw, 34 + 12 * count)
    assert len(raw) == 34 + 12 * count + 8 * boundaries and list(documents) == list(range(count + 1))
    data = (folder / f"{name}.bin").read_bytes()
    assert len(data) == width * sum(sizes)
    return [list(struct.unpack_from(f"<{size}{letter}", data, at)) for size, at in zip(sizes, pointers, strict=True)]


def orders(folder: Path) -> list[Order]:
    sources = [source(folder, [90, 1, 400, 77], "a", 2.0), source(folder, [33] * 30, "b", 1.0)]
    return [
        DataOrder(sources, 16, 1),
        DataOrder(sources, 16, 1, "blocks"),
        NeoxOrder(sources, 16, 1, 64, folder / "cache"),
    ]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("vocabulary", [50_304, VOCABULARY])
def test_a_run_becomes_rows_and_reads_the_same(tmp_path: Path, number: int, vocabulary: int) -> None:
    """Step N, counted from 1, read rows [B (N - 1), B N), whatever order wrote them."""
    order = orders(tmp_path)[number]
    write_rows(order, range(64), tmp_path / "rows.bin", vocabulary)
    rows = read_by_the_table(tmp_path, "rows")
    file = TokenFile(tmp_path / "rows.bin", tmp_path / "rows.idx")
    again = RowOrder([MixtureSource("rows", 1.0, 1, "rows", file)], 16, 0)
    assert again.sequences == len(rows) == 64
    for step in range(1, 9):
        for index in range(BATCH * (step - 1), BATCH * step):
            assert order.tokens(index).tolist() == again.tokens(index).tolist() == rows[index]
    assert tokens_digest(order, range(64)) == tokens_digest(again, range(64))


def test_a_batch_as_an_array(tmp_path: Path) -> None:
    order = orders(tmp_path)[0]
    write_rows(order, range(8, 16), tmp_path / "batch.npy", 50_304)
    batch = np.load(tmp_path / "batch.npy")
    assert batch.dtype == np.uint16 and batch.shape == (8, 17)
    assert batch.tolist() == [order.tokens(index).tolist() for index in range(8, 16)]
    with pytest.raises(ValueError, match=r"ends in \.npy, or in \.bin"):
        write_rows(order, range(8), tmp_path / "batch.txt", 50_304)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    order = orders(tmp_path)[2]
    with pytest.raises(IndexError, match="whole length"):
        write_rows(order, range(60, 10_000), tmp_path / "rows.bin", 50_304)
    with pytest.raises(ValueError, match="outside the vocabulary of 20"):
        write_rows(order, range(8), tmp_path / "rows.bin", 20)
    assert not list(tmp_path.glob("rows.*"))


def test_rows_end_where_they_end(tmp_path: Path) -> None:
    file = counting_file(tmp_path / "rows", [17] * 10)
    order = RowOrder([MixtureSource("rows", 1.0, 1, "x", file)], 16, 0)
    assert order.holding("rows", 16, 18, 99) == [0, 1] and order.holding("rows", 160, 170, 5) == []
    assert order.locate(9).spans == ((153, 17),)
    for index in (-1, 10):
        with pytest.raises(IndexError, match="source rows has no more rows"):
            order.tokens(index)


def test_files_that_hold_no_rows_are_refused(tmp_path: Path) -> None:
    file = counting_file(tmp_path / "rows", [17, 17, 16])
    with pytest.raises(ValueError, match=r"row 2 holds 16 tokens, and a row is one sequence of 17"):
        RowOrder([MixtureSource("rows", 1.0, 1, "x", file)], 16, 0)
    one = MixtureSource("a", 1.0, 1, "x", file)
    other = MixtureSource("b", 1.0, 1, "x", file)
    with pytest.raises(ValueError, match="give the one file"):
        RowOrder([one, other], 16, 0)


def test_files_of_another_writer(tmp_path: Path) -> None:
    """Documents of several stored sequences, as Megatron allows: borders are those of documents."""
    sizes, documents = [5, 6, 9, 20], [0, 2, 4]
    tokens = np.arange(40, dtype="<u2")
    pointers = np.cumsum([0, *sizes[:-1]]) * 2
    raw = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, 8, 4, 3) + struct.pack("<4i4q3q", *sizes, *pointers, *documents)
    (tmp_path / "other.idx").write_bytes(raw)
    (tmp_path / "other.bin").write_bytes(tokens.tobytes())
    file = TokenFile(tmp_path / "other.bin", tmp_path / "other.idx")
    assert file.documents == 2 and file.document_starts.tolist() == [0, 11, 40]
    assert file.sequence_starts.tolist() == [0, 5, 11, 20, 40]
