"""A source in several files is the same source as in one."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from infra.store.digests import sha256_file
from infra.store.errors import Corrupt
from infra.store.token_files import JoinedDigest, TokenFiles, open_tokens, pair_digest
from infra.store.tokens import TokenFile, TokenWriter

rng = random.Random(5)
DOCUMENTS = [[rng.randrange(300) for _ in range(rng.randrange(1, 9))] for _ in range(40)]


def write(folder: Path, documents: list[list[int]], vocabulary: int = 300) -> TokenFile:
    folder.mkdir(parents=True)
    with TokenWriter(folder / "t.bin", folder / "t.idx", vocabulary) as writer:
        for document in documents:
            writer.append(document)
    return TokenFile(folder / "t.bin", folder / "t.idx")


def cut(folder: Path, *ends: int) -> list[TokenFile]:
    bounds = [0, *ends, len(DOCUMENTS)]
    pairs = itertools.pairwise(bounds)
    return [write(folder / str(number), DOCUMENTS[first:past]) for number, (first, past) in enumerate(pairs)]


@pytest.mark.parametrize("ends", [(17,), (1, 2, 39), (0, 10, 10, 30), tuple(range(1, 40))], ids=len)
def test_it_reads_as_one_file(tmp_path: Path, ends: tuple[int, ...]) -> None:
    one, many = write(tmp_path / "one", DOCUMENTS), TokenFiles(cut(tmp_path / "many", *ends))
    assert (many.documents, many.tokens, many.dtype) == (one.documents, one.tokens, one.dtype)
    for name in ("sizes", "document_index", "sequence_starts", "document_starts"):
        assert getattr(many, name).tolist() == getattr(one, name).tolist()
    assert [many.document(number).tolist() for number in range(40)] == DOCUMENTS
    for first in range(one.tokens):
        for count in (0, 1, 5, one.tokens - first):
            if first + count <= one.tokens:
                assert many.read(first, count).tolist() == one.read(first, count).tolist()
    assert sum(many.file_documents) == 40 and len(many.file_documents) == len(ends) + 1
    for wrong in ((-1, 2), (0, one.tokens + 1)):
        with pytest.raises(IndexError, match=f"of {one.tokens}"):
            many.read(*wrong)


@pytest.mark.parametrize("ends", [(), (17,), (0, 10, 10, 30), tuple(range(1, 40))], ids=len)
def test_its_digest_is_that_of_one_file(tmp_path: Path, ends: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one", DOCUMENTS)
    with JoinedDigest(tmp_path) as joined:
        for file in cut(tmp_path / "many", *ends):
            joined.add(file)
        # In blocks smaller than the index and the tokens.
        monkeypatch.setattr("infra.store.token_files._BLOCK_BYTES", 12)
        monkeypatch.setattr("infra.store.tokens._BLOCK", 7)
        assert joined.digest() == pair_digest(sha256_file(one.bin_path), sha256_file(one.idx_path))
        assert (joined.documents, joined.tokens) == (40, one.tokens)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "many"}, "nothing is left behind"


def test_the_digest_tells_order_and_boundaries(tmp_path: Path) -> None:
    digests = set()
    for number, documents in enumerate(([[1, 2], [3]], [[1], [2, 3]], [[3], [1, 2]], [[1, 2, 3]])):
        file = write(tmp_path / str(number), documents)
        digests.add(pair_digest(sha256_file(file.bin_path), sha256_file(file.idx_path)))
    assert len(digests) == 4


def test_files_of_other_tokens_are_refused(tmp_path: Path) -> None:
    files = [write(tmp_path / "small", [[1]]), write(tmp_path / "large", [[1]], 100_000)]
    with pytest.raises(Corrupt, match="not of one source"):
        TokenFiles(files)
    with JoinedDigest(tmp_path) as joined, pytest.raises(Corrupt, match="not of one source"):
        for file in files:
            joined.add(file)
    with pytest.raises(ValueError, match="at least one"):
        TokenFiles([])
    assert open_tokens(files[:1]) is files[0]


def test_a_document_of_several_sequences_has_no_joined_digest(tmp_path: Path) -> None:
    file = write(tmp_path / "t", [[1], [2]])
    file.document_index = np.array([0, 2])
    with JoinedDigest(tmp_path) as joined, pytest.raises(Corrupt, match="documents of several sequences"):
        joined.add(file)
