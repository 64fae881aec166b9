"""A source in several token files: it reads as their concatenation, and has the digest of one file with all of it.

So the sequences of a run, and its identity, do not depend on how a source is cut into files.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.tokens import TokenFile, Tokens, index_blocks

_BLOCK_BYTES = 1 << 20


class TokenFiles(Tokens):
    """Several files, in order. Raises Corrupt when they store tokens differently, ValueError when there is none."""

    def __init__(self, files: Sequence[TokenFile]) -> None:
        if not files:
            raise ValueError("a source needs at least one token file")
        _require_one_type(files)
        self.files = tuple(files)
        self.name = f"{files[0].name} and {len(files) - 1} more"
        self.dtype = files[0].dtype
        self.sizes = np.concatenate([file.sizes for file in files])
        sequences = _starts(file.sizes.size for file in files)
        self.document_index = np.concatenate(
            [[0], *(file.document_index[1:] + first for file, first in zip(files, sequences[:-1], strict=True))]
        )
        self._starts = _starts(file.tokens for file in files)
        self.tokens = int(self._starts[-1])

    @property
    def file_documents(self) -> list[int]:
        """Number of documents of each file."""
        return [file.documents for file in self.files]

    def take(self, first: int, past: int) -> NDArray[np.integer]:
        """The tokens [first, past): a view where one file has them all."""
        number = int(np.searchsorted(self._starts, first, "right")) - 1
        found = []
        while first < past:
            start, end = int(self._starts[number]), int(self._starts[number + 1])
            found.append(self.files[number].take(first - start, min(past, end) - start))
            first, number = max(first, min(past, end)), number + 1
        return found[0] if len(found) == 1 else np.concatenate([np.empty(0, self.dtype), *found])


def open_tokens(files: Sequence[TokenFile]) -> Tokens:
    """The tokens of a source. Raises as `TokenFiles` does."""
    return files[0] if len(files) == 1 else TokenFiles(files)


def pair_digest(bin_sha256: str, idx_sha256: str) -> str:
    """The digest of the tokens of a source, from the sha256 of its `.bin` and `.idx`."""
    return key_of([bin_sha256, idx_sha256])


class JoinedDigest:
    """Computes the digest of the tokens of a source, file by file, as `pair_digest` of one file with all of them.

    A context manager. Memory does not grow with the source: sizes are kept in a temporary file in `folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._bin = hashlib.sha256()
        self._sizes = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        self._last: TokenFile | None = None
        self.documents = self.tokens = 0

    def add(self, file: TokenFile) -> None:
        """Add the next file. Raises Corrupt when a document of it is not one sequence, or for another token type."""
        _require_one_type([file if self._last is None else self._last, file])
        if not np.array_equal(file.document_index, np.arange(file.sizes.size + 1)):
            raise Corrupt(f"{file.idx_path}: documents of several sequences; files of a source have one for each")
        with open(file.bin_path, "rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                self._bin.update(block)
        self._sizes.write(file.sizes.astype("<i4").tobytes())
        self._last = file
        self.documents += file.documents
        self.tokens += file.tokens

    def digest(self) -> str:
        """The digest of all files added so far, at least one."""
        assert self._last is not None
        idx = hashlib.sha256()
        for block in index_blocks(self._last.dtype, self.documents, self._blocks):
            idx.update(block)
        return pair_digest(self._bin.hexdigest(), idx.hexdigest())

    def _blocks(self) -> Iterator[NDArray[np.int32]]:
        self._sizes.seek(0)
        while block := self._sizes.read(_BLOCK_BYTES):
            yield np.frombuffer(block, "<i4")

    def __enter__(self) -> JoinedDigest:
        return self

    def __exit__(self, *error: object) -> None:
        self._sizes.close()


def _require_one_type(files: Sequence[TokenFile]) -> None:
    for file in files[1:]:
        if file.dtype != files[0].dtype:
            raise Corrupt(
                f"{file.idx_path}: tokens of type {file.dtype}, but {files[0].idx_path} has {files[0].dtype}; they are "
                "not of one source"
            )


def _starts(counts: Iterable[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *counts], dtype=np.int64)
