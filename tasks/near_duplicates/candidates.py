"""Finds candidate near-duplicates: documents whose signatures agree in a whole band (locality-sensitive hashing).

Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4: with b bands of r rows, two documents of Jaccard
index s become candidates with the probability 1 - (1 - s^r)^b.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pydantic

from tasks.signatures import SignatureConfig, unpack_signatures

PAIR_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("other_shard", pa.int32(), nullable=False),
        pa.field("other_row", pa.int32(), nullable=False),
    ]
)
_PAIRS_AT_ONCE = 1 << 22  # 32 MiB of pairs


class NearDuplicateConfig(SignatureConfig):
    """The search for near-duplicates. The fields of `SignatureConfig` must equal those of the signatures.

    - `threshold`: the minimum Jaccard index of near-duplicates;
    - `weights`: of false positives and false negatives, for datasketch's ``MinHashLSH``, which chooses bands and rows.
      Candidates are verified, so a false positive only costs time, while a false negative is lost. The default gives 16
      bands of 8 rows at 0.8, which find 95 % of the pairs at the threshold itself (datasketch's default of equal
      weights gives 9 of 13, which find 40 %);
    - `bands`, `rows`: set both to override that choice;
    - `bucket_cap`: the largest bucket, in documents, of which all pairs are candidates;
    - `partitions`: the number of partitions of the buckets.
    """

    threshold: float = pydantic.Field(0.8, gt=0.0, le=1.0)
    weights: tuple[float, float] = (0.05, 0.95)
    bands: int | None = pydantic.Field(None, ge=1)
    rows: int | None = pydantic.Field(None, ge=1)
    bucket_cap: int = pydantic.Field(100, ge=2, le=10_000)
    partitions: int = pydantic.Field(16, ge=1, le=4096)

    @pydantic.model_validator(mode="after")
    def check_bands(self) -> NearDuplicateConfig:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give both bands and rows, or neither")
        if self.bands is not None and self.rows is not None and self.bands * self.rows > self.permutations:
            raise ValueError(f"bands x rows is {self.bands * self.rows}, more than {self.permutations} permutations")
        if min(self.weights) < 0.0 or abs(sum(self.weights) - 1.0) > 1e-9:
            raise ValueError(f"weights must be at least 0 and sum to 1, not {self.weights}")
        return self

    def signatures(self) -> SignatureConfig:
        """The config of the compared signatures."""
        return SignatureConfig.model_validate(self.model_dump(include=set(SignatureConfig.model_fields)))

    def bands_and_rows(self) -> tuple[int, int]:
        """The number of bands and the rows of each: as configured, or as chosen by datasketch's MinHashLSH."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        return _choose_bands(self.threshold, self.permutations, self.weights[0])


def map_bands(annotated: pa.Table, config: NearDuplicateConfig) -> pa.Table:
    """Compute the bucket of every band of every document of a shard.

    `annotated` has the column ``signatures.signature`` (binary, see `tasks.signatures`). The result has the columns
    partition (int32), band (int16), key (uint64, a hash of the band's number and values) and row (int32). Documents
    without a signature are in no bucket. Raises ValueError for signatures of another length.
    """
    present, signatures = unpack_signatures(annotated.column("signatures.signature"), config.permutations)
    bands, rows = config.bands_and_rows()
    keys = np.empty((bands, len(present)), np.uint64)
    for band in range(bands):
        keys[band] = _hash_columns(signatures[:, band * rows : (band + 1) * rows], band)
    return pa.table(
        {
            "partition": (keys % np.uint64(config.partitions)).astype(np.int32).ravel(),
            "band": np.repeat(np.arange(bands, dtype=np.int16), len(present)),
            "key": keys.ravel(),
            "row": np.tile(present.astype(np.int32), bands),
        }
    )


def pair_up(tables: Iterable[tuple[int, pa.Table]], config: NearDuplicateConfig) -> pa.Table:
    """Form the candidate pairs of one partition: distinct, sorted, with the smaller (shard, row) on the left.

    `tables` yields (shard, rows of `map_bands`). A bucket of up to `bucket_cap` documents yields all its pairs. A
    larger bucket, of n documents ordered by (shard, row), yields 2n - 3: the first document with every other (a star),
    and each with its successor (a chain). Both find all copies of one text. Of texts that are only similar, some pairs
    may be missed, unless a smaller bucket of another band holds them. Columns as in `PAIR_SCHEMA`.
    """
    bands, keys, documents = _gather(tables)
    order = np.lexsort((documents, keys, bands))
    bands, keys, documents = bands[order], keys[order], documents[order]
    first = np.flatnonzero(np.r_[True, (bands[1:] != bands[:-1]) | (keys[1:] != keys[:-1])][: len(keys)])
    sizes = np.diff(np.r_[first, len(keys)])
    names, numbers = np.unique(documents, return_inverse=True)
    blocks = [np.unique(block) for block in _bucket_pairs(numbers, first, sizes, config.bucket_cap, len(names))]
    pairs = np.unique(np.concatenate([np.empty(0, np.int64), *blocks]))
    left, right = (names[half] for half in np.divmod(pairs, max(len(names), 1)))
    return pa.table(
        {
            "shard": (left >> 32).astype(np.int32),
            "row": (left & 0xFFFFFFFF).astype(np.int32),
            "other_shard": (right >> 32).astype(np.int32),
            "other_row": (right & 0xFFFFFFFF).astype(np.int32),
        },
        schema=PAIR_SCHEMA,
    )


@functools.cache
def _choose_bands(threshold: float, permutations: int, false_positive_weight: float) -> tuple[int, int]:
    weights = (false_positive_weight, 1.0 - false_positive_weight)
    # A local import, as in `tasks.signatures`.
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=permutations, weights=weights)
    return index.b, index.r


def _hash_columns(values: np.ndarray, band: int) -> np.ndarray:
    """Hash each row of a uint32 matrix to 64 bits.

    The values go in order through the finaliser of SplitMix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number
    Generators, 2014).
    """
    state = np.full(len(values), band + 1, np.uint64)
    for column in values.T:
        state = (state + np.uint64(0x9E3779B97F4A7C15)) ^ column.astype(np.uint64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def _gather(tables: Iterable[tuple[int, pa.Table]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All rows of a partition as bands, keys and documents (shard · 2³² + row: int64)."""
    bands, keys, documents = [np.empty(0, np.int16)], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for shard, table in tables:
        bands.append(table.column("band").to_numpy())
        keys.append(table.column("key").to_numpy())
        documents.append(table.column("row").to_numpy().astype(np.int64) + (shard << 32))
    return np.concatenate(bands), np.concatenate(keys), np.concatenate(documents)


def _bucket_pairs(
    numbers: np.ndarray, first: np.ndarray, sizes: np.ndarray, cap: int, count: int
) -> Iterator[np.ndarray]:
    """Yield blocks of pairs, each as left · count + right.

    Bucket i is numbers[first[i] : first[i] + sizes[i]], ascending.
    """
    for size in np.unique(sizes[(sizes > 1) & (sizes <= cap)]).tolist():
        left, right = np.triu_indices(size, 1)
        starts = first[sizes == size]
        step = max(1, _PAIRS_AT_ONCE // len(left))
        for begin in range(0, len(starts), step):
            members = numbers[starts[begin : begin + step, None] + np.arange(size)]
            yield (members[:, left] * count + members[:, right]).ravel()
    for start, size in zip(first[sizes > cap].tolist(), sizes[sizes > cap].tolist(), strict=True):
        members = numbers[start : start + size]
        yield members[0] * count + members[1:]
        yield members[1:-1] * count + members[2:]
