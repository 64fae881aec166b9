"""MinHash signatures (Broder, 1997) of documents, equal to datasketch's."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from infra.compiled import njit
from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.text.shingles import hash_shingles

SIGNATURE_SCHEMA = pa.schema(
    [
        pa.field("signature", pa.binary()),
        pa.field("shingles", pa.int32()),
    ]
)
_GREATEST = np.uint32(0xFFFFFFFF)


class SignatureConfig(StageConfig):
    """How signatures are made.

    - `permutations`: values per signature;
    - `shingle_words`: words per shingle;
    - `seed`: seed of the permutations;
    - `most_shingles`: a signature is that of the first so many shingles of a longer document. The minima of millions of
      32-bit values are so low that documents with nothing in common share some, and the time of a signature grows with
      its shingles. Whether two documents are near-duplicates is decided on their whole texts.
    """

    permutations: int = pydantic.Field(128, ge=2, le=4096)
    shingle_words: int = pydantic.Field(5, ge=1, le=64)
    seed: int = pydantic.Field(1, ge=0, le=2**32 - 1)
    most_shingles: int = pydantic.Field(100_000, ge=1000)


@stage(
    "signatures",
    version=2,
    kind=StageKind.annotate,
    config=SignatureConfig,
    libraries=["datasketch"],
    schema=SIGNATURE_SCHEMA,
)
def signatures(batch: Documents, config: SignatureConfig) -> Annotations:
    """Compute the MinHash signature of every document.

    Columns:

    - ``signature`` (binary): `permutations` little-endian uint32 values, equal to the ``hashvalues`` of a datasketch
      2.0.0 ``MinHash(num_perm=permutations, seed=seed)`` (default scheme affine32 and hash function sha1_hash32)
      updated with every shingle of `tasks.text.shingles`, up to `most_shingles`;
    - ``shingles`` (int32): the number of all shingles, repeated ones included. A document with fewer than
      `shingle_words` words has one shingle.

    A document without words, for example after all its lines were struck, has no shingles and a null signature.
    """
    multipliers, increments = _permutations(config.permutations, config.seed)
    signed = np.full((batch.num_rows, config.permutations), _GREATEST, np.uint32)
    shingles = np.zeros(batch.num_rows, np.int32)
    row = 0
    for chunk in batch.column("text").chunks:
        for text in chunk.to_pylist():
            hashes, shingles[row] = hash_shingles(text, config.shingle_words, config.most_shingles)
            _lower(signed[row], hashes, multipliers, increments)
            row += 1
    empty = pa.array(shingles == 0)
    width = 4 * config.permutations
    packed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), batch.num_rows, [None, pa.py_buffer(signed.astype("<u4", copy=False))]
    )
    return pa.table(
        {
            "signature": pc.if_else(empty, None, packed.cast(pa.binary())),
            "shingles": pa.array(shingles),
        },
        schema=SIGNATURE_SCHEMA,
    )


def unpack_signatures(column: pa.ChunkedArray, permutations: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a signature, and their signatures: int64 (n,), and uint32 (n, permutations).

    Raises ValueError if a signature has another number of values: signatures of different configs never match.
    """
    lengths = pc.binary_length(column).to_numpy()
    rows = np.flatnonzero(~np.isnan(lengths)) if lengths.dtype.kind == "f" else np.arange(len(column))
    wrong = np.flatnonzero(lengths[rows] != 4 * permutations)
    if wrong.size:
        row = int(rows[wrong[0]])
        raise ValueError(
            f"the signature in row {row} has {int(lengths[row]) // 4} values, not {permutations}: "
            "run the stage signatures with the same number of permutations"
        )
    packed = column.drop_null().cast(pa.binary(4 * permutations)).combine_chunks()
    values = np.frombuffer(
        packed.buffers()[1], "<u4", len(rows) * permutations, offset=4 * permutations * packed.offset
    )
    return rows, values.reshape(len(rows), permutations)


@functools.cache
def _permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The odd multipliers and the increments of datasketch's permutations: uint32, shape (count,) each."""
    # A local import: datasketch imports much of scipy, which takes most of a second, and only this function needs it.
    from datasketch import MinHash

    multipliers, increments = MinHash(num_perm=count, seed=seed).permutations
    return np.ascontiguousarray(multipliers), np.ascontiguousarray(increments)


@njit(cache=True)
def _lower(signature: np.ndarray, hashes: np.ndarray, multipliers: np.ndarray, increments: np.ndarray) -> None:
    """Lower every value of a signature to the minimum of its permutation over all hashes.

    ``datasketch/minhash.py``, scheme affine32: the low 32 bits of a hash go through the finaliser of MurmurHash3, then
    through h -> multiplier * h + increment, all modulo 2³².
    """
    for hash64 in hashes:
        h = np.uint32(hash64 & np.uint64(0xFFFFFFFF))
        h = np.uint32(h ^ (h >> np.uint32(16)))
        h = np.uint32(h * np.uint32(0x85EBCA6B))
        h = np.uint32(h ^ (h >> np.uint32(13)))
        h = np.uint32(h * np.uint32(0xC2B2AE35))
        h = np.uint32(h ^ (h >> np.uint32(16)))
        for k in range(signature.size):
            value = np.uint32(multipliers[k] * h + increments[k])
            if value < signature[k]:
                signature[k] = value
