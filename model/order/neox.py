"""GPT-NeoX's order, sequence for sequence: what a run of GPT-NeoX reads from the same token files.

It has two forms. `train-data-paths` with `train-data-weights` and `pack_impl` "packed": index maps for each source
(`model.order.index_maps`), blended by weight (`model.order.blending`). `data-path` with `split`: the index maps of a
range of one source's documents. As in the original, the order depends on the length of the run. An index outside the
order raises IndexError; the original wraps around with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.store.digests import key_of
from infra.store.tokens import Tokens
from model.order.blending import MOST_SOURCES, blend, samples_of_sources
from model.order.index_maps import (
    IndexMaps,
    build_index_maps,
    epochs_needed,
    map_paths,
    read_index_maps,
    write_index_maps,
)
from model.order.sequences import Location, MixtureSource, check_sources, read_spans, too_short


class NeoxOrder:
    """The sequences of a run of `samples` = steps · batch sequences of `length` + 1 tokens.

    The index maps are stored as `.npy` files in the folder `cache`, in a folder named by the digest of the token files,
    and memory-mapped, so the ranks of a machine share them. A document is, as in GPT-NeoX, a stored sequence of the
    `.idx`. `part` restricts the only source to these document numbers (`model.order.split`).

    Raises ValueError as `check_sources` does, for a source of fewer than two tokens, and for a source that would be
    read more often than its `epochs`.
    """

    def __init__(
        self,
        sources: Sequence[MixtureSource],
        length: int,
        seed: int,
        samples: int,
        cache: Path,
        part: range | None = None,
    ) -> None:
        check_sources(sources, length)
        if part is not None and len(sources) > 1:
            raise ValueError(f"{len(sources)} sources; GPT-NeoX splits the documents of one, so give one")
        if samples < 1 or len(sources) > MOST_SOURCES:
            raise ValueError(
                f"{samples} samples of {len(sources)} sources; GPT-NeoX's order needs at least one sample and at most "
                f"{MOST_SOURCES} sources"
            )
        self.sources, self.length, self.seed, self.samples = tuple(sources), length, seed, samples
        self.fingerprint = key_of(
            {
                "order": "neox",
                "packing": "overlapping",
                "length": length,
                "samples": samples,
                "sources": [[source.name, float(source.weight), source.digest] for source in sources],
                **({} if part is None else {"documents": [part.start, part.stop]}),
            }
        )
        weights = [source.weight for source in sources]
        # A split data path is not blended, so it needs no spare samples.
        self.prepared = samples_of_sources(weights, samples) if part is None else [samples]
        self.part = part
        self.maps = [self._open_maps(number, cache) for number in range(len(sources))]
        self._chosen, self._ranks = blend(weights, sum(maps.sequences for maps in self.maps))
        self._numbers = {source.name: number for number, source in enumerate(sources)}
        lengths = np.array([maps.sequences for maps in self.maps])
        beyond = np.flatnonzero(self._ranks >= lengths[self._chosen])
        self.sequences = int(beyond[0]) if len(beyond) else len(self._chosen)

    def file(self, source: str) -> Tokens:
        """The tokens of the source of that name. Raises KeyError when there is none."""
        return self.sources[self._numbers[source]].file

    def locate(self, index: int) -> Location:
        """The location of sequence `index`; `window` is its sample. Raises IndexError outside [0, sequences)."""
        if not 0 <= index < self.sequences:
            raise IndexError(
                f"sequence {index} of {self.sequences}: source {self._limiting()} has no sample left in the maps of a "
                f"run of {self.samples} sequences; build the order for the run's whole length"
            )
        number = int(self._chosen[index])
        maps, starts = self.maps[number], self.sources[number].file.sequence_starts
        sample = int(maps.shuffle[self._ranks[index]])
        (first, begin), (last, end) = maps.samples[sample].tolist(), maps.samples[sample + 1].tolist()
        spans = []
        for document, place in zip(maps.documents[first : last + 1].tolist(), range(first, last + 1), strict=True):
            from_token = int(starts[document]) + (begin if place == first else 0)
            # A sample ends with the first token of the next.
            past = int(starts[document]) + end + 1 if place == last else int(starts[document + 1])
            if past > from_token:
                spans.append((from_token, past - from_token))
        return Location(self.sources[number].name, None, sample, tuple(spans))

    def tokens(self, index: int) -> NDArray[np.int64]:
        """The tokens of sequence `index`; shape (length + 1,). Raises IndexError outside [0, sequences)."""
        location = self.locate(index)
        return read_spans(self.file(location.source), location.spans)

    def holding(self, source: str, first: int, past: int, stop: int) -> list[int]:
        """The sequences below `stop` that hold any of the tokens [first, past) of a source's file, in order.

        Searches the source's maps, which have no inverse, not the sequences.
        """
        number = self._numbers[source]
        maps, starts = self.maps[number], self.sources[number].file.sequence_starts
        documents = range(int(np.searchsorted(starts, first, "right")) - 1, int(np.searchsorted(starts, past, "left")))
        samples: set[int] = set()
        for document in documents:
            begin, end = max(first, int(starts[document])), min(past, int(starts[document + 1]))
            for place in np.flatnonzero(np.asarray(maps.documents) == document).tolist() if end > begin else ():
                tokens = range(begin - int(starts[document]), end - int(starts[document]))
                samples.update(_samples_holding(maps, place, tokens))
        ranks = np.flatnonzero(np.isin(maps.shuffle, np.array(sorted(samples), maps.shuffle.dtype)))
        places = np.flatnonzero(self._chosen == number)
        found = places[ranks[ranks < len(places)]]
        return sorted(found[found < min(stop, self.sequences)].tolist())

    def _limiting(self) -> str:
        """The source that runs out first."""
        last = min(self.sequences, len(self._chosen) - 1)
        return self.sources[int(self._chosen[last])].name

    def _open_maps(self, number: int, cache: Path) -> IndexMaps:
        source, samples = self.sources[number], self.prepared[number]
        sizes = source.file.sizes
        part = range(len(sizes)) if self.part is None else self.part
        documents = np.arange(part.start, part.stop, dtype=np.int32)
        tokens = int(sizes[documents].sum(dtype=np.int64))
        require_passes(source.name, tokens, source.epochs, self.length, samples)
        name = "train" if self.part is None else f"documents_{part.start}_{part.stop}"
        paths = map_paths(cache / source.digest, name, samples, self.length, self.seed)
        if not all(path.exists() for path in paths):
            write_index_maps(build_index_maps(sizes, documents, self.length, samples, self.seed), paths)
        return read_index_maps(paths)


def require_passes(name: str, tokens: int, epochs: int, length: int, samples: int) -> None:
    """Raise ValueError when `samples` samples need more than `epochs` passes over a source of `tokens` tokens."""
    if tokens < 2:
        raise too_short(name, tokens, length)
    passes = epochs_needed(tokens, length, samples)
    if passes > epochs:
        raise ValueError(
            f"source {name}: GPT-NeoX's order takes {passes} passes for {samples} samples, and it may be read {epochs} "
            "times; allow more epochs, add data or shorten the run"
        )


def _samples_holding(maps: IndexMaps, place: int, tokens: range) -> range:
    """The samples that hold any of `tokens` of the document at index `place` of the stream.

    A sample extends from its start to the start of the next, inclusive.
    """
    first = _last_start(maps, place, tokens.start)
    past = _last_start(maps, place, tokens.stop - 1) + 1
    if first > 0 and maps.samples[first].tolist() == [place, tokens.start]:
        first -= 1
    return range(first, min(past, len(maps.samples) - 1))


def _last_start(maps: IndexMaps, place: int, token: int) -> int:
    """The last sample that begins at or before a token of the stream."""
    places = maps.samples[:, 0]
    low, high = (int(np.searchsorted(places, place, side)) for side in ("left", "right"))
    return low + int(np.searchsorted(maps.samples[low:high, 1], token, "right")) - 1
