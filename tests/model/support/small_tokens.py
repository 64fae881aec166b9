"""Token files for tests of the data order: documents of chosen sizes, in which every token tells where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.store.tokens import TokenFile, TokenWriter
from model.order import MixtureSource

VOCABULARY = 1 << 30


def counting_file(folder: Path, sizes: Sequence[int]) -> TokenFile:
    """A file of documents of these sizes, in which token k of the whole file is k."""
    folder.mkdir(parents=True)
    with TokenWriter(folder / "t.bin", folder / "t.idx", VOCABULARY) as writer:
        for size in sizes:
            writer.append(range(writer.tokens, writer.tokens + size))
    return TokenFile(folder / "t.bin", folder / "t.idx")


def source(folder: Path, sizes: Sequence[int], name: str = "a", weight: float = 1.0, epochs: int = 99) -> MixtureSource:
    """A source over such a file; its digest says what is in it."""
    return MixtureSource(name, weight, epochs, f"{name} of {list(sizes)}", counting_file(folder / name, sizes))
