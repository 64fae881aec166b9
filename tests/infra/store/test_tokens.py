"""Token files against the documented bytes, and damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from infra.store.errors import Corrupt
from infra.store.tokens import TokenFile, TokenWriter, token_type


def write(folder: Path, documents: list[list[int]], vocabulary: int = 300) -> TokenFile:
    with TokenWriter(folder / "t.bin", folder / "t.idx", vocabulary) as writer:
        for document in documents:
            writer.append(document)
    return TokenFile(folder / "t.bin", folder / "t.idx")


def test_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    write(tmp_path, [[1, 2, 299], [7], [4, 0]])
    # Assembled by hand from the layout in Megatron's documentation, field by field.
    expected = b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", 8) + struct.pack("<QQ", 3, 4)
    expected += struct.pack("<3i", 3, 1, 2) + struct.pack("<3q", 0, 6, 8) + struct.pack("<4q", 0, 1, 2, 3)
    assert (tmp_path / "t.idx").read_bytes() == expected
    assert (tmp_path / "t.bin").read_bytes() == struct.pack("<6H", 1, 2, 299, 7, 4, 0)


def test_type_follows_the_vocabulary(tmp_path: Path) -> None:
    assert token_type(65_499) == np.dtype("<u2")
    assert token_type(65_500) == np.dtype("<i4")
    file = write(tmp_path, [[70_000, 1]], vocabulary=100_000)
    assert (tmp_path / "t.idx").read_bytes()[17] == 4
    assert (tmp_path / "t.bin").read_bytes() == struct.pack("<2i", 70_000, 1)
    assert file.document(0).tolist() == [70_000, 1]


def test_reads_documents_and_the_stream(tmp_path: Path) -> None:
    documents = [[1, 2, 3], [4], [5, 6]]
    file = write(tmp_path, documents)
    assert (file.documents, file.tokens) == (3, 6)
    assert [file.document(number).tolist() for number in range(3)] == documents
    assert [file.document_span(number) for number in range(3)] == [(0, 3), (3, 4), (4, 6)]
    assert file.read(2, 3).tolist() == [3, 4, 5]
    for first, count in ((-1, 2), (5, 2), (0, 7)):
        with pytest.raises(IndexError, match="of 6"):
            file.read(first, count)
    with pytest.raises(IndexError, match="document 3 of 3"):
        file.document(3)


def test_no_documents(tmp_path: Path) -> None:
    file = write(tmp_path, [])
    assert (file.documents, file.tokens, file.read(0, 0).size) == (0, 0, 0)
    assert (tmp_path / "t.idx").stat().st_size == 34 + 8
    assert (tmp_path / "t.bin").stat().st_size == 0


def test_reads_documents_of_several_sequences(tmp_path: Path) -> None:
    """Other writers store a document as several sequences; ours reads them."""
    header = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, 8, 3, 3)
    index = header + struct.pack("<3i", 2, 1, 2) + struct.pack("<3q", 0, 4, 6) + struct.pack("<3q", 0, 2, 3)
    (tmp_path / "t.idx").write_bytes(index)
    (tmp_path / "t.bin").write_bytes(struct.pack("<5H", 1, 2, 3, 4, 5))
    file = TokenFile(tmp_path / "t.bin", tmp_path / "t.idx")
    assert [file.document(number).tolist() for number in range(file.documents)] == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize("bad", [[300], [-1], [], [[1, 2]], [1.5]])
def test_refuses_what_is_no_document(tmp_path: Path, bad: list) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="document 1"):
        with TokenWriter(tmp_path / "t.bin", tmp_path / "t.idx", 300) as writer:
            writer.append([1])
            writer.append(bad)
    assert list(tmp_path.iterdir()) == [], "a failed writer leaves nothing that looks finished"


def test_damage_is_found(tmp_path: Path) -> None:
    write(tmp_path, [[1, 2, 3], [4, 5]])
    index, tokens = (tmp_path / "t.idx").read_bytes(), (tmp_path / "t.bin").read_bytes()
    shifted = bytearray(index)
    shifted[34 + 8] ^= 2  # the first sequence's offset
    cases = {
        "header": (index[:20], tokens),
        "not a Megatron index": (b"X" + index[1:], tokens),
        "version 2": (index[:9] + b"\x02" + index[10:], tokens),
        "boundaries": (index[:-1], tokens),
        "offsets": (bytes(shifted), tokens),
        "document boundaries": (index[:-8] + struct.pack("<q", 1), tokens),
        "truncated": (index, tokens[:-2]),
    }
    for reason, (idx, data) in cases.items():
        (tmp_path / "t.idx").write_bytes(idx)
        (tmp_path / "t.bin").write_bytes(data)
        with pytest.raises(Corrupt, match=reason):
            TokenFile(tmp_path / "t.bin", tmp_path / "t.idx")
