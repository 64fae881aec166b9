"""Lineage: maps each document of a token file to its document in the corpus, and back."""

from __future__ import annotations

import bisect
import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.shards import PartReader
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part, all_manifests

LINEAGE_SUFFIX = ".lineage.parquet"
# The document's number in the `.idx` of its file, its id and URL, and its span of tokens of the file, including the
# end-of-text token.
LINEAGE_SCHEMA = pa.schema(
    [
        ("document", pa.int64()),
        ("id", pa.string()),
        ("url", pa.string()),
        ("first_token", pa.int64()),
        ("tokens", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Origin:
    """The corpus identity of a document; `url` is None if it has none. `tokens` includes the end-of-text token."""

    id: str
    url: str | None
    tokens: int


def tokens_with(lake: Lake, sha256s: Iterable[str]) -> Iterator[Manifest]:
    """The token artifacts of a lake that have files of these digests."""
    wanted = set(sha256s)
    for manifest in all_manifests(lake, "artifacts/tokens"):
        if wanted <= {part.sha256 for part in manifest.parts}:
            yield manifest


class Lineages:
    """The lineages of the files of a source, in order. A document's number counts those of earlier files too."""

    def __init__(self, parts: Sequence[Part], reader: PartReader) -> None:
        self._parts, self._reader = parts, reader

    def origins(self, documents: Iterable[int], counts: Sequence[int]) -> dict[int, Origin]:
        """The corpus identities of these documents; `counts` are the documents of each file.

        Reads only the lineages of the files that have them. Raises ValueError if one of them is missing.
        """
        ends = list(itertools.accumulate(counts))
        found: dict[int, Origin] = {}
        wanted: dict[int, list[int]] = {}
        for document in documents:
            wanted.setdefault(bisect.bisect_right(ends, document), []).append(document)
        for file, numbers in wanted.items():
            first = ends[file] - counts[file]
            own = origins(self._reader.path(self._parts[file]), (number - first for number in numbers))
            found |= {first + number: origin for number, origin in own.items()}
        return found

    def named(self, name: str) -> Iterator[tuple[int, Origin]]:
        """The documents with this id or URL, ascending. Reads all lineages."""
        first = 0
        for part in self._parts:
            path = self._reader.path(part)
            for number, origin in origins(path, documents_of(path, name)).items():
                yield first + number, origin
            first += pq.read_metadata(path).num_rows


def origins(lineage: Path, documents: Iterable[int]) -> dict[int, Origin]:
    """The corpus identities of the documents with these numbers. Raises ValueError if the lineage lacks one of them."""
    wanted = sorted(set(documents))
    # Lineages of older artifacts lack URLs.
    columns = [name for name in ("document", "id", "url", "tokens") if name in pq.read_schema(lineage).names]
    table = pq.read_table(lineage, columns=columns, filters=pc.field("document").isin(wanted))
    found = {row["document"]: Origin(row["id"], row.get("url"), row["tokens"]) for row in table.to_pylist()}
    if missing := set(wanted) - set(found):
        raise ValueError(f"{lineage} has no document {min(missing)}; it is not the lineage of these tokens")
    return found


def documents_of(lineage: Path, name: str) -> list[int]:
    """The numbers of the documents with the id or URL `name`, ascending; a page may have been read several times."""
    names = [column for column in ("id", "url") if column in pq.read_schema(lineage).names]
    wanted = functools.reduce(operator.or_, (pc.field(column) == name for column in names))
    return sorted(pq.read_table(lineage, columns=["document"], filters=wanted)["document"].to_pylist())
