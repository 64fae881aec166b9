"""GPT-NeoX's data order once more, written down from its description, document by document, with nothing shared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class SlowMaps:
    """`documents`, `samples` and `shuffle` as GPT-NeoX stores them."""

    documents: np.ndarray
    samples: np.ndarray
    shuffle: np.ndarray


def slow_maps(sizes: list[int], chosen: list[int], length: int, wanted: int, seed: int) -> SlowMaps:
    """Sample after sample through the shuffled documents."""
    per_epoch = sum(sizes[document] for document in chosen)
    epochs = 1
    while (epochs * per_epoch - 1) // length < wanted:
        epochs += 1
    generator = np.random.RandomState(seed)
    documents = np.array([document for _ in range(epochs) for document in chosen], np.int32)
    generator.shuffle(documents)
    count = (epochs * per_epoch - 1) // length
    samples = [[0, 0]]
    place = offset = 0
    while len(samples) <= count:
        need = length + 1
        while need > sizes[documents[place]] - offset:
            need -= sizes[documents[place]] - offset
            place, offset = place + 1, 0
        offset += need - 1  # the last token is read again
        samples.append([place, offset])
    wide = 2 * ((epochs * per_epoch - 1) / length + 1) >= 2**31 - 1
    shuffle = np.array(list(range(count)), np.uint32)
    generator.shuffle(shuffle)
    return SlowMaps(documents, np.array(samples, np.int64 if wide else np.int32), shuffle)


def slow_sequences(files: list[list[list[int]]], weights: list[float], length: int, wanted: int, seed: int) -> list:
    """All sequences (source, tokens) of a run over several sources, each a list of documents of tokens."""
    weights = [weight / sum(weights) for weight in weights]
    sources = []
    for documents, weight in zip(files, weights, strict=True):
        sizes = [len(document) for document in documents]
        maps = slow_maps(sizes, list(range(len(sizes))), length, math.ceil(wanted * weight * 1.005), seed)
        stream = [token for document in maps.documents for token in documents[document]]
        rows = [stream[sample * length : sample * length + length + 1] for sample in maps.shuffle.tolist()]
        sources.append(rows[:-1])  # its length is one too small
    given = [0] * len(files)
    normal = np.array(weights) / np.sum(np.array(weights))
    sequences = []
    for index in range(sum(map(len, sources))):
        best, most = 0, -math.inf
        for number, weight in enumerate(normal):
            error = weight * max(float(index), 1.0) - given[number]
            if error > most:
                best, most = number, error
        if given[best] >= len(sources[best]):
            break
        sequences.append((best, sources[best][given[best]]))
        given[best] += 1
    return sequences
