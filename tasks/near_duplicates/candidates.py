"""What documents have in common if they may be near-duplicates: whole bands of signatures, or fingerprints of text.

Documents that share a key are candidates: they come into one cluster, and the corpus stage compares them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tasks.corpus.components import hash_name
from tasks.near_duplicates.config import NearDuplicateConfig
from tasks.signatures import unpack_signatures
from tasks.text.bands import band_keys
from tasks.text.fingerprints import fingerprints
from tasks.text.words import hash_words


def columns_of_map(config: NearDuplicateConfig) -> list[str]:
    """The columns that `map_keys` reads."""
    return ["id", "signatures.signature" if config.similarity == "jaccard" else "text"]


def map_keys(documents: pa.Table, config: NearDuplicateConfig) -> pa.Table:
    """The keys of every document of a shard: columns partition and key (uint64), row (int32), name (uint64).

    ``name`` is a hash of the document's id. A document without words has no keys. Raises ValueError for signatures of
    another length.
    """
    keys, rows = _bands(documents, config) if config.similarity == "jaccard" else _fingerprints(documents)
    names = np.array([hash_name(id) for id in documents["id"].to_pylist()], np.uint64)
    return pa.table({"partition": keys, "key": keys, "row": rows.astype(np.int32), "name": names[rows]})


def _bands(documents: pa.Table, config: NearDuplicateConfig) -> tuple[np.ndarray, np.ndarray]:
    present, signatures = unpack_signatures(documents["signatures.signature"], config.permutations)
    bands, rows = config.bands_and_rows()
    return band_keys(signatures, bands, rows).ravel(), np.repeat(present, bands)


def _fingerprints(documents: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    keys = [fingerprints(hash_words(text)) for text in documents["text"].to_pylist()]
    rows = np.repeat(np.arange(len(keys)), [len(some) for some in keys])
    return np.concatenate([np.empty(0, np.uint64), *keys]), rows
