"""What the corpus stage needs of each document that has a candidate: its cluster, its words and its signature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from infra.documents import Annotations, Documents
from tasks.near_duplicates.config import NearDuplicateConfig
from tasks.text.words import hash_words

NEAR_DUPLICATE_SCHEMA = pa.schema(
    [
        pa.field("cluster", pa.string()),
        pa.field("words", pa.list_(pa.uint64())),
        pa.field("signature", pa.binary()),
    ]
)


def columns_of_annotate(config: NearDuplicateConfig) -> list[str]:
    """The columns that `annotate_members` reads."""
    return ["text", *(["signatures.signature"] if config.similarity == "jaccard" else [])]


def annotate_members(documents: Documents, rows: pa.Table, config: NearDuplicateConfig) -> Annotations:
    """Annotate a shard; all columns are null for a document that shares no key with another.

    - ``cluster`` (string): names the documents that a chain of shared keys connects, as 16 hexadecimal digits. They
      are candidates: the corpus stage compares them, and most members of a large cluster may stay;
    - ``words`` (list of uint64): the hashes of the document's words in order (`tasks.text.words`);
    - ``signature`` (binary): as in `tasks.signatures`; null where the similarity is containment.

    `rows` are those of `place_members` in this shard. Raises ValueError for a row that the shard does not have.
    """
    at = rows["row"].to_numpy()
    if len(at) and (at.max() >= documents.num_rows or at.min() < 0):
        raise ValueError(f"row {at.max()} is in a cluster, but the shard has only {documents.num_rows} documents")
    rows = rows.take(pa.array(np.argsort(at)))
    members = documents.take(rows["row"])
    words = [hash_words(text) for text in members["text"].to_pylist()]
    ends = np.cumsum([0, *(len(some) for some in words)])
    nothing = pa.nulls(members.num_rows, pa.binary())
    found = pa.table(
        [
            pa.array([f"{name:016x}" for name in rows["cluster"].to_pylist()], pa.string()),
            pa.ListArray.from_arrays(
                pa.array(ends.astype(np.int32)), pa.array(np.concatenate([np.empty(0, np.uint64), *words]))
            ),
            members["signatures.signature"] if config.similarity == "jaccard" else nothing,
        ],
        schema=NEAR_DUPLICATE_SCHEMA,
    )
    index = np.full(documents.num_rows, -1, np.int64)
    index[np.sort(at)] = np.arange(len(at))
    return found.take(pa.array(index, mask=index < 0))


def describe_member(columns: dict[str, Any]) -> list[str]:
    """Describe the columns of one document in words."""
    if columns["cluster"] is None:
        return ["no other document has enough in common with it to be compared"]
    return [f"one of the candidates {columns['cluster']}, whose texts are compared"]
