"""GPT-NeoX's three index maps for one source, byte for byte, and the `.npy` files that hold them.

From `megatron/data/gpt2_dataset.py` and `helpers.cpp`, packing "packed": every document `epochs` times, shuffled across
all passes at once (Megatron-LM shuffles the last pass separately); this stream split into samples that overlap by one
token; and the samples shuffled with the same generator. A search in cumulative sums replaces the original's loop over
documents.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_INT32 = np.iinfo(np.int32).max
_UINT32 = np.iinfo(np.uint32).max
_NAMES = ("doc_idx", "sample_idx", "shuffle_idx")


@dataclass(frozen=True, slots=True)
class IndexMaps:
    """The maps of one source.

    `documents` (``doc_idx``): int32 (epochs · documents,), the document numbers in stream order. `samples`
    (``sample_idx``): int32 or int64 (n + 1, 2), for each sample the index in `documents` where it begins and the token
    offset within that document. `shuffle` (``shuffle_idx``): uint32 or int64 (n,), the i-th sample to read.
    """

    documents: NDArray[np.int32]
    samples: NDArray[np.signedinteger]
    shuffle: NDArray[np.integer]

    @property
    def sequences(self) -> int:
        """Samples that GPT-NeoX reads: its dataset length is one too small, so it never reads the last sample."""
        return len(self.shuffle) - 1


def epochs_needed(tokens: int, length: int, samples: int) -> int:
    """The smallest number of passes over `tokens` tokens that gives `samples` samples (`_num_epochs`)."""
    return max(1, -(-(samples * length + 1) // tokens))


def build_index_maps(
    sizes: NDArray[np.int32], documents: NDArray[np.integer], length: int, samples: int, seed: int
) -> IndexMaps:
    """The maps of the document numbers `documents` of a file whose documents have `sizes` tokens.

    Raises ValueError when these documents hold fewer than two tokens.
    """
    tokens = int(sizes[documents].sum(dtype=np.int64))
    if tokens < 2:
        raise ValueError(
            f"{len(documents)} documents hold {tokens} tokens; samples need at least two, so add documents"
        )
    epochs = epochs_needed(tokens, length, samples)
    # The original's legacy generator. numpy guarantees its streams, unlike those of `default_rng`.
    generator = np.random.RandomState(seed)
    stream = np.tile(documents.astype(np.int32), epochs)
    generator.shuffle(stream)
    count = (epochs * tokens - 1) // length
    # The original's condition: 2 (x + 1) < 2^31 - 1, with x = (epochs · tokens - 1) / length unrounded.
    narrow = 2 * (epochs * tokens - 1 + length) < _INT32 * length
    samples_at = _sample_starts(sizes, stream, length, count, np.dtype(np.int32 if narrow else np.int64))
    shuffle: NDArray[np.integer] = np.arange(count, dtype=np.uint32) if count < _UINT32 - 1 else np.arange(count)
    generator.shuffle(shuffle)
    return IndexMaps(stream, samples_at, shuffle)


def _sample_starts(
    sizes: NDArray[np.int32], stream: NDArray[np.int32], length: int, count: int, dtype: np.dtype[np.signedinteger]
) -> NDArray[np.signedinteger]:
    ends = np.cumsum(sizes[stream], dtype=np.int64)
    found = np.zeros((count + 1, 2), dtype)
    block = 1 << 22  # limits the memory of the 64-bit positions
    for begin in range(1, count + 1, block):
        positions = np.arange(begin, min(begin + block, count + 1), dtype=np.int64) * length
        places = np.searchsorted(ends, positions, "right")
        found[begin : begin + len(positions), 0] = places
        found[begin : begin + len(positions), 1] = positions - (ends[places] - sizes[stream[places]])
    return found


def map_paths(prefix: Path, name: str, samples: int, length: int, seed: int) -> tuple[Path, Path, Path]:
    """The paths where GPT-NeoX (2.0, packing "packed", chopped documents allowed) stores the maps of data set `name`.

    `prefix` is the path of the token files without suffix; `name` is ``train_0`` for the first training path.
    """
    stem = f"{prefix.name}_{name}_indexmap_{samples}ns_{length}sl_{seed}s_packedpi_ac"
    first, second, third = (prefix.with_name(f"{stem}_{kind}.npy") for kind in _NAMES)
    return first, second, third


def write_index_maps(maps: IndexMaps, paths: tuple[Path, Path, Path]) -> None:
    """Write the three files, each atomically."""
    for path, values in zip(paths, (maps.documents, maps.samples, maps.shuffle), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{uuid.uuid4().hex}.npy")
        try:
            np.save(partial, values, allow_pickle=False)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def read_index_maps(paths: tuple[Path, Path, Path]) -> IndexMaps:
    """The maps in three files, memory-mapped. Raises ValueError, naming the file, for a wrong dtype or shape."""
    documents, samples, shuffle = (np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) for path in paths)
    if documents.ndim != 1 or documents.dtype != np.int32:
        raise ValueError(
            f"{paths[0]}: {documents.dtype} of shape {documents.shape}, not int32 (documents,); build it again"
        )
    if samples.ndim != 2 or samples.shape[1] != 2 or samples.dtype not in (np.int32, np.int64):
        raise ValueError(
            f"{paths[1]}: {samples.dtype} of shape {samples.shape}, not int32 or int64 (samples + 1, 2); build it again"
        )
    if shuffle.shape != (len(samples) - 1,) or shuffle.dtype not in (np.uint32, np.int64):
        raise ValueError(
            f"{paths[2]}: {shuffle.dtype} of shape {shuffle.shape}, not uint32 or int64 ({len(samples) - 1},); "
            "the three files are of different runs, build them again"
        )
    return IndexMaps(documents, samples, shuffle)
