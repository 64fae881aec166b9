"""Token files: Megatron's `.bin/.idx` pair, version 1, byte for byte.

The `.bin` file is the concatenation of all documents as little-endian integers. The `.idx` file is

    9 bytes   b"MMIDIDX" and two zero bytes
    8 bytes   <Q version, 1
    1 byte    <B code of the token type
    8 bytes   <Q n, the number of sequences
    8 bytes   <Q d, the number of documents + 1
    4 n bytes int32  tokens of each sequence
    8 n bytes int64  byte offset of each sequence in `.bin`
    8 d bytes int64  first sequence of each document; the last entry is n

(GPT-NeoX, `megatron/data/indexed_dataset.py`, `MMapIndexedDataset`.) This writer stores a document as one sequence,
as Megatron's own preprocessing does, so d = n + 1.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from infra.store.errors import Corrupt

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
# Omits codes 6 and 7 (floats): NeoX and Megatron-core define them in opposite ways, and tokens never need them.
TYPE_OF_CODE: dict[int, np.dtype[np.integer]] = {
    1: np.dtype("u1"),
    2: np.dtype("i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
    5: np.dtype("<i8"),
    8: np.dtype("<u2"),
}
CODE_OF_TYPE = {dtype: code for code, dtype in TYPE_OF_CODE.items()}
_BLOCK = 1 << 20  # numbers of documents, of which an index is written at a time
SMALL_VOCABULARY = 65_500  # NeoX, `best_fitting_dtype`: below this a token is stored in two bytes


def token_type(vocabulary: int) -> np.dtype[np.integer]:
    """The stored type for a vocabulary of that many ids: uint16 below 65,500, int32 otherwise."""
    if vocabulary < 1 or vocabulary > 2**31:
        raise ValueError(f"vocabulary is {vocabulary}; it must be between 1 and {2**31}")
    return np.dtype("<u2") if vocabulary < SMALL_VOCABULARY else np.dtype("<i4")


class TokenWriter:
    """Writes one pair of files, document by document; memory use grows by four bytes per document.

    A context manager: a normal exit writes the `.idx`; an exception removes both files.
    """

    def __init__(self, bin_path: Path, idx_path: Path, vocabulary: int) -> None:
        self.bin_path, self.idx_path, self.vocabulary = Path(bin_path), Path(idx_path), vocabulary
        self.dtype = token_type(vocabulary)
        self.sizes = array("i")
        self.tokens = 0
        self._bin = open(self.bin_path, "wb")  # noqa: SIM115 - closed by `finish` or `__exit__`

    @property
    def documents(self) -> int:
        """Documents appended so far."""
        return len(self.sizes)

    def append(self, tokens: ArrayLike) -> None:
        """Append one document, including its end-of-document token; shape (tokens,), ids in [0, vocabulary)."""
        ids = np.asarray(tokens)
        where = f"{self.bin_path}, document {len(self.sizes)}"
        if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise ValueError(
                f"{where}: {ids.dtype} array of shape {ids.shape}; give one or more integer ids in one dimension"
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.vocabulary:
            raise ValueError(
                f"{where}: token ids from {low} to {high} are outside the vocabulary of {self.vocabulary}; "
                "give the writer the vocabulary of the tokenizer that was used"
            )
        self._bin.write(ids.astype(self.dtype).tobytes())
        self.sizes.append(ids.size)
        self.tokens += ids.size

    def finish(self) -> None:
        """Close the `.bin` and write the `.idx`."""
        self._bin.close()
        sizes = np.asarray(self.sizes, dtype="<i4")
        with open(self.idx_path, "wb") as idx:
            for block in index_blocks(self.dtype, sizes.size, lambda: iter([sizes])):
                idx.write(block)

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
            return
        self._bin.close()
        self.bin_path.unlink(missing_ok=True)
        self.idx_path.unlink(missing_ok=True)


def index_blocks(
    dtype: np.dtype[np.integer], sequences: int, sizes: Callable[[], Iterator[NDArray[np.int32]]]
) -> Iterator[bytes]:
    """The bytes of the `.idx` of documents of one sequence each, whose `sizes` come in blocks, here read twice."""
    yield HEADER.pack(MAGIC, VERSION, CODE_OF_TYPE[dtype], sequences, sequences + 1)
    for block in sizes():
        yield block.astype("<i4").tobytes()
    end = np.int64(0)
    for block in sizes():
        ends = end + np.cumsum(block, dtype=np.int64)
        yield ((ends - block) * dtype.itemsize).astype("<i8").tobytes()
        end = ends[-1] if block.size else end
    for first in range(0, sequences + 1, _BLOCK):
        yield np.arange(first, min(first + _BLOCK, sequences + 1), dtype="<i8").tobytes()


class Tokens:
    """The tokens of a source: the concatenation of its documents.

    `sizes` counts the tokens of each stored sequence; document i is the sequences from `document_index[i]` up to
    `document_index[i + 1]`. `name` is for messages.
    """

    name: str
    dtype: np.dtype[np.integer]
    sizes: NDArray[np.int32]
    document_index: NDArray[np.int64]
    tokens: int

    def take(self, first: int, past: int) -> NDArray[np.integer]:
        """The tokens [first, past), which must exist; shape (past - first,)."""
        raise NotImplementedError

    @property
    def documents(self) -> int:
        """Number of documents."""
        return int(self.document_index.size - 1)

    @property
    def file_documents(self) -> list[int]:
        """Number of documents of each file."""
        return [self.documents]

    def document(self, index: int) -> NDArray[np.integer]:
        """The stored tokens of one document; shape (tokens,). Raises IndexError outside [0, documents)."""
        if not 0 <= index < self.documents:
            raise IndexError(f"{self.name}: document {index} of {self.documents}")
        return self.take(*self.document_span(index))

    def document_span(self, index: int) -> tuple[int, int]:
        """The half-open range [first, last) of a document's tokens in all tokens."""
        return int(self.document_starts[index]), int(self.document_starts[index + 1])

    @cached_property
    def sequence_starts(self) -> NDArray[np.int64]:
        """First token of each stored sequence, followed by the number of tokens; shape (sequences + 1,)."""
        starts = np.zeros(self.sizes.size + 1, np.int64)
        np.cumsum(self.sizes, dtype=np.int64, out=starts[1:])
        return starts

    @cached_property
    def document_starts(self) -> NDArray[np.int64]:
        """First token of each document, followed by the number of tokens; shape (documents + 1,)."""
        return self.sequence_starts[self.document_index]

    def read(self, first: int, count: int) -> NDArray[np.integer]:
        """`count` tokens from the concatenation of all documents, starting at token `first`; shape (count,).

        Raises IndexError when the range exceeds the tokens: never wraps around and never returns fewer tokens.
        """
        if first < 0 or count < 0 or first + count > self.tokens:
            raise IndexError(f"{self.name}: tokens {first} to {first + count} of {self.tokens}")
        return self.take(first, first + count)


class TokenFile(Tokens):
    """A memory-mapped pair of files. Raises `Corrupt`, with file and reason, when the two are inconsistent."""

    def __init__(self, bin_path: Path, idx_path: Path) -> None:
        self.bin_path, self.idx_path = Path(bin_path), Path(idx_path)
        self.name = str(self.bin_path)
        self.dtype, self.sizes, self.document_index = _read_index(self.idx_path)
        self.tokens = int(self.sizes.sum(dtype=np.int64))
        held = self.bin_path.stat().st_size
        if held != self.tokens * self.dtype.itemsize:
            raise Corrupt(
                f"{self.bin_path}: {held} bytes, but {self.idx_path} describes {self.tokens} tokens of "
                f"{self.dtype.itemsize} bytes; one of the two is truncated or from another data set, fetch both again"
            )
        # An empty file cannot be mapped.
        self._stream = np.memmap(self.bin_path, dtype=self.dtype, mode="r") if held else np.empty(0, dtype=self.dtype)

    def take(self, first: int, past: int) -> NDArray[np.integer]:
        """The tokens [first, past), as a view of the file."""
        return self._stream[first:past]


def _read_index(path: Path) -> tuple[np.dtype[np.integer], NDArray[np.int32], NDArray[np.int64]]:
    raw = path.read_bytes()
    if len(raw) < HEADER.size:
        raise Corrupt(f"{path}: {len(raw)} bytes, shorter than the header of {HEADER.size}; fetch it again")
    magic, version, code, sequences, entries = HEADER.unpack_from(raw)
    if magic != MAGIC or version != VERSION or code not in TYPE_OF_CODE:
        raise Corrupt(
            f"{path}: starts with {magic!r}, version {version}, token type {code}; "
            f"this is not a Megatron index of version {VERSION}"
        )
    expected = HEADER.size + 12 * sequences + 8 * entries
    if len(raw) != expected or entries < 1:
        raise Corrupt(
            f"{path}: {len(raw)} bytes where {expected} belong to {sequences} sequences and {entries} boundaries; "
            "fetch it again"
        )
    # The 64-bit arrays start unaligned at byte 34 + 4n, so they are copied instead of mapped.
    sizes = np.frombuffer(raw, "<i4", sequences, HEADER.size).copy()
    pointers = np.frombuffer(raw, "<i8", sequences, HEADER.size + 4 * sequences).copy()
    documents = np.frombuffer(raw, "<i8", entries, HEADER.size + 12 * sequences).copy()
    dtype = TYPE_OF_CODE[code]
    ends = np.cumsum(sizes, dtype=np.int64) * dtype.itemsize
    if (sizes < 0).any() or (pointers != ends - sizes.astype(np.int64) * dtype.itemsize).any():
        raise Corrupt(
            f"{path}: sequence offsets do not follow from the sequence sizes; the file is damaged, fetch it again"
        )
    if documents[0] != 0 or documents[-1] != sequences or (np.diff(documents) < 0).any():
        raise Corrupt(
            f"{path}: document boundaries do not run from 0 to {sequences}; the file is damaged, fetch it again"
        )
    return dtype, sizes, documents
