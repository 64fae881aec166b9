"""The n-grams of evaluation sets, and where they stand in a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from infra.compiled import njit
from tasks.contamination.evaluations import Item
from tasks.text.mixing import mix
from tasks.text.words import hash_words

# Of the items that share an n-gram, so many are named. Instructions stand in every item of some sets.
NAMED = 16
_EXPECTED_PER_BIT = 16


@dataclass(frozen=True)
class Matches:
    """What of evaluation sets stands in one text, in words of it, from 0.

    `item`, `first`, `behind`: the spans, int64 [S], by their first word. `struck_first`, `struck_behind`: the disjoint
    runs of all spans, int64 [R]. `spans` counts all spans, of which not all are named. `items`: all items that share an
    n-gram, int64, ascending.
    """

    item: np.ndarray
    first: np.ndarray
    behind: np.ndarray
    struck_first: np.ndarray
    struck_behind: np.ndarray
    spans: int
    items: np.ndarray


class EvaluationIndex:
    """The n-grams of items. A string of more than `n` words counts as its n-grams, a shorter one as a whole.

    Strings of fewer than `shortest` words are not looked for. An item without a longer string is looked for as all its
    strings, one behind another, if they have `shortest_item` words together; others are not looked for.
    """

    def __init__(self, items: Iterable[Item], n: int, shortest: int, shortest_item: int) -> None:
        self.evaluations: list[str] = []
        self.lines: list[int] = []
        keys: list[np.ndarray] = []
        owners: list[np.ndarray] = []
        lengths: set[int] = set()
        for number, item in enumerate(items):
            self.evaluations.append(item.evaluation)
            self.lines.append(item.line)
            hashed = [hash_words(text) for text in item.strings]
            texts = [words for words in hashed if words.size >= shortest]
            if not texts:
                whole = np.concatenate([np.empty(0, np.uint64), *hashed])
                texts = [whole] if whole.size >= max(shortest_item, 1) else []
            for words in texts:
                width = min(n, words.size)
                lengths.add(width)
                found = _grams(words, width)
                keys.append(found)
                owners.append(np.full(found.size, number, np.int64))
        every = np.concatenate([np.empty(0, np.uint64), *keys])
        owner = np.concatenate([np.empty(0, np.int64), *owners])
        order = np.lexsort((owner, every))
        every, owner = every[order], owner[order]
        new = np.ones(every.size, bool)
        new[1:] = (every[1:] != every[:-1]) | (owner[1:] != owner[:-1])
        self._keys, self._owners = every[new], owner[new]
        self._lengths = np.array(sorted(lengths), np.int64)
        self._shift = np.uint64(64 - max(10, int(self._keys.size * _EXPECTED_PER_BIT).bit_length()))
        self._bits = _bits(self._keys, self._shift)
        self._last = np.full(len(self.lines), -1, np.int64)
        starts = np.flatnonzero(np.r_[True, self._keys[1:] != self._keys[:-1]]) if self._keys.size else self._owners
        self._crowded = starts[np.diff(np.r_[starts, self._keys.size]) > NAMED]

    def find(self, words: np.ndarray, named: int) -> Matches:
        """What stands in a text with these words (uint64, as `hash_words`); the first `named` spans are named.

        Overlapping n-grams of one item are one span. An n-gram of more than `NAMED` items has spans of the first
        `NAMED`.
        """
        item, first, behind, struck_first, struck_behind, spans, items, crowded = _find(
            words, self._lengths, self._keys, self._owners, self._bits, self._shift, self._last, self._crowded, named
        )
        items = np.unique(np.concatenate([items, *map(self._owners_at, crowded)]))
        return Matches(item, first, behind, struck_first, struck_behind, spans, items)

    def _owners_at(self, place: np.int64) -> np.ndarray:
        """All items of the n-gram whose first place among the keys this is."""
        owners: np.ndarray = self._owners[place : np.searchsorted(self._keys, self._keys[place], "right")]
        return owners


@njit(cache=True)
def _grams(words: np.ndarray, width: int) -> np.ndarray:
    found = np.empty(words.size - width + 1, np.uint64)
    for start in range(found.size):
        state = np.uint64(0)
        for word in words[start : start + width]:
            state = mix((state + np.uint64(0x9E3779B97F4A7C15)) ^ word)
        found[start] = state
    return found


@njit(cache=True)
def _bits(keys: np.ndarray, shift: np.uint64) -> np.ndarray:
    """A bit for each leading part of a key, so that most words of a text need no search."""
    bits = np.zeros(1 << (61 - np.int64(shift)), np.uint8)
    for key in keys:
        place = key >> shift
        bits[place >> np.uint64(3)] |= np.uint8(1) << np.uint8(place & np.uint64(7))
    return bits


@njit(cache=True)
def _find(
    words: np.ndarray,
    lengths: np.ndarray,
    keys: np.ndarray,
    owners: np.ndarray,
    bits: np.ndarray,
    shift: np.uint64,
    last: np.ndarray,
    crowded: np.ndarray,
    named: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, np.ndarray, np.ndarray]:
    # `last` is -1 for every item, and is left so: per item the word behind its latest span, and in `place` its number.
    # `crowded`: where the n-grams of more than NAMED items begin. Their other items are read once for a text, by the
    # caller, and not for every word of it.
    item = np.empty(named, np.int64)
    first = np.empty(named, np.int64)
    behind = np.empty(named, np.int64)
    place = np.empty(last.size if words.size else 0, np.int64)
    touched = np.empty(16, np.int64)
    runs = np.empty((16, 2), np.int64)
    met = np.zeros(crowded.size if words.size else 0, np.bool_)
    spans = items = struck = 0
    for start in range(words.size):
        state = np.uint64(0)
        longest = 0
        for length in lengths:
            end = start + length
            if end > words.size:
                break
            for word in words[start + longest : end]:
                state = mix((state + np.uint64(0x9E3779B97F4A7C15)) ^ word)
            longest = length
            bit = state >> shift
            if not bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7)) & np.uint8(1):
                continue
            at = int(np.searchsorted(keys, state))
            if at == keys.size or keys[at] != state:
                continue
            if at + NAMED < keys.size and keys[at + NAMED] == state:
                met[np.searchsorted(crowded, at)] = True
            for entry in range(at, min(at + NAMED, keys.size)):
                if keys[entry] != state:
                    break
                owner = owners[entry]
                if last[owner] < 0:
                    if items == touched.size:
                        touched = np.concatenate((touched, np.empty_like(touched)))
                    touched[items] = owner
                    items += 1
                if last[owner] <= start:
                    place[owner] = spans
                    if spans < named:
                        item[spans], first[spans] = owner, start
                    spans += 1
                last[owner] = max(last[owner], end)
                if place[owner] < named:
                    behind[place[owner]] = last[owner]
            if struck and runs[struck - 1, 1] >= start:
                runs[struck - 1, 1] = max(runs[struck - 1, 1], end)
            else:
                if struck == runs.shape[0]:
                    runs = np.concatenate((runs, np.empty_like(runs)))
                runs[struck, 0], runs[struck, 1] = start, end
                struck += 1
    for number in range(items):
        last[touched[number]] = -1
    kept = min(spans, named)
    found = runs[:struck].copy()
    struck_first, struck_behind = found[:, 0].copy(), found[:, 1].copy()
    return item[:kept], first[:kept], behind[:kept], struck_first, struck_behind, spans, touched[:items], crowded[met]
