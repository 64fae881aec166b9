"""Byte-pair encoding: the merges of a tokenizer, from how often each word occurs.

The merges are those of the trainer of the `tokenizers` library for the same words, which cannot be given counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infra.compiled import njit

int64: Any = np.int64  # the type of lists and of the values of mappings in compiled functions


def byte_pairs(words: Mapping[bytes, int], ids: Sequence[int], first: int, size: int) -> list[tuple[int, int]]:
    """The merges, in order, each as the ids of a pair, until there are `size` tokens or no pair is left.

    `words` maps each word to its count; `ids` holds the id of each byte. A merge gives the next id from `first` on.
    The next pair is the one that occurs most often, and of several the one with the smallest ids. No two pairs give
    the same bytes: between two places that no merge joins, equal bytes are merged alike.
    """
    text = np.frombuffer(b"".join(words), np.uint8)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    counts = np.fromiter(words.values(), np.int64, len(words))
    merges = _merges(np.array(ids, np.int32)[text], lengths, counts, first, size)
    return [(int(left), int(right)) for left, right in merges]


@njit(cache=True)
def _merges(symbols: np.ndarray, lengths: np.ndarray, counts: np.ndarray, first: int, size: int) -> np.ndarray:
    """See `byte_pairs`. `symbols` holds the ids of the bytes of all words; it changes. Result: int64, shape (n, 2).

    A pair comes up in one round only, that of its newer token, with all words that have it: a linked list. Later
    rounds only make it rarer, so its count in the queue may be too high; then it is put back with the right one.
    """
    starts = np.cumsum(lengths) - lengths
    numbers = {int64(-1): int64(0)}  # pair → its place in the next three lists
    pairs = [int64(-1)]
    occurring = [int64(0)]
    heads = [int64(-1)]  # the words that have it: an item of the next two lists
    of_word = [int64(0)]
    after = [int64(-1)]
    free = int64(-1)  # items of words that are done with, as another linked list
    for word in range(len(lengths)):
        for place in range(starts[word], starts[word] + lengths[word] - 1):
            pair = (int64(symbols[place]) << 32) | int64(symbols[place + 1])
            number = _number(numbers, pairs, occurring, heads, pair)
            occurring[number] += counts[word]
            free = _note(heads, of_word, after, free, number, word)
    known = int64(1)
    queue = [(int64(0), int64(0), int64(0))]
    queue.clear()
    found = [(int64(0), int64(0))]
    found.clear()
    while first + len(found) < size:
        for number in range(known, len(pairs)):
            if occurring[number]:
                heapq.heappush(queue, (-occurring[number], pairs[number], number))
        known = len(pairs)
        if not queue:
            break
        told, pair, number = heapq.heappop(queue)
        if occurring[number] < -told:
            if occurring[number]:
                heapq.heappush(queue, (-occurring[number], pair, number))
            continue
        left, right, result = pair >> 32, pair & 0xFFFFFFFF, int64(first + len(found))
        found.append((left, right))
        item = heads[number]
        while item >= 0:
            word, following = of_word[item], after[item]
            after[item], free = free, item
            item = following
            read = write = starts[word]
            end = read + lengths[word]
            while read < end:
                if read + 1 < end and symbols[read] == left and symbols[read + 1] == right:
                    if write > starts[word]:
                        before = int64(symbols[write - 1]) << 32
                        occurring[numbers[before | left]] -= counts[word]
                        number = _number(numbers, pairs, occurring, heads, before | result)
                        occurring[number] += counts[word]
                        free = _note(heads, of_word, after, free, number, word)
                    if read + 2 < end:
                        behind = int64(symbols[read + 2])
                        occurring[numbers[(right << 32) | behind]] -= counts[word]
                        number = _number(numbers, pairs, occurring, heads, (result << 32) | behind)
                        occurring[number] += counts[word]
                        free = _note(heads, of_word, after, free, number, word)
                    symbols[write] = result
                    read += 2
                else:
                    symbols[write] = symbols[read]
                    read += 1
                write += 1
            lengths[word] = write - starts[word]
    merges = np.empty((len(found), 2), np.int64)
    for place in range(len(found)):
        merges[place, 0], merges[place, 1] = found[place]
    return merges


@njit(cache=True)
def _number(numbers: dict[int, int], pairs: list[int], occurring: list[int], heads: list[int], pair: int) -> int:
    """The place of a pair in the lists; it gets one where it has none."""
    if pair not in numbers:
        numbers[pair] = int64(len(pairs))
        pairs.append(pair)
        occurring.append(int64(0))
        heads.append(int64(-1))
    return numbers[pair]


@njit(cache=True)
def _note(heads: list[int], of_word: list[int], after: list[int], free: int, number: int, word: int) -> int:
    """Add a word to those of a pair, unless it is the last one there. Returns the first item that is free."""
    head = heads[number]
    if head >= 0 and of_word[head] == word:
        return free
    item = free
    if item < 0:
        item = int64(len(of_word))
        of_word.append(int64(word))
        after.append(head)
    else:
        free = after[item]
        of_word[item] = int64(word)
        after[item] = head
    heads[number] = item
    return free
