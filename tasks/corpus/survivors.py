"""Which near-duplicates go: documents in the order of preference, each compared with those that stay.

A document meets only documents that share a key with it: a band of signatures, or a fingerprint. Only documents that
stay are kept by key, so copies of one text cost a comparison each, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infra.compiled import njit
from tasks.corpus.comparison import Comparison
from tasks.text.bands import band_keys
from tasks.text.fingerprints import fingerprints
from tasks.text.similarity import contained, count_common, jaccard, ngram_set

LOST_WORDS = 3  # the n-grams of which the ledger counts those that are lost
# A pair whose signatures agree less than that below the threshold is not compared. Of pairs at the threshold that are 9
# of a million at 0.8, and 2 of 100,000 at 0.95 (binomial, 128 permutations).
_SIGMAS = 4.5
_MOST_WALKED = 4096  # entries of its rarest fingerprints that a document looks at: boilerplate has no bound


@dataclass(frozen=True)
class Members:
    """The documents to choose among, in the order of preference.

    `words` (uint64) are the hashes of all their words, and `ends` (int64, shape (documents + 1,)) where each begins and
    ends. `signatures`: uint32, shape (documents, permutations), or (documents, 0) for containment. `places`: int64,
    their order in the build. The first `known` documents are of earlier builds: they never go.
    """

    words: np.ndarray
    ends: np.ndarray
    signatures: np.ndarray
    places: np.ndarray
    known: int = 0


@dataclass(frozen=True)
class Choice:
    """What becomes of each document; all of shape (documents,).

    `goes`: whether it goes. `match`: the number of the document with which it was compared, the one because of which it
    goes, or the most similar one if it stays; -1 if it was compared with none. `similarity`: of the two, NaN for none.
    `verified`: whether the match of a document that goes stays. `lost`: the distinct 3-grams of a document that goes
    which do not stand in its match. `words`: its words, or -1 if texts are not compared.
    """

    goes: np.ndarray
    match: np.ndarray
    similarity: np.ndarray
    lost: np.ndarray
    words: np.ndarray
    verified: bool = True


def choose_first(clusters: list[str]) -> Choice:
    """Of each cluster the first document stays. `clusters` names that of each document."""
    stays: dict[str, int] = {}
    first = np.array([stays.setdefault(name, number) for number, name in enumerate(clusters)], np.int64)
    goes = first != np.arange(len(first))
    unknown = np.full(len(first), -1, np.int64)
    return Choice(goes, np.where(goes, first, -1), np.full(len(first), np.nan), unknown, unknown)


def choose_survivors(members: Members, how: Comparison) -> Choice:
    """Which documents go, by `how.mode` (see `tasks.corpus.comparison`)."""
    count = len(members.places)
    if how.mode == "pile_dedupe":
        keys, key_count = _dense(band_keys(members.signatures, how.bands, how.rows).ravel())
        match, similarity = _all_but_the_last(
            keys.reshape(count, how.bands), key_count, members.signatures, np.argsort(members.places)
        )
        goes = (match >= 0) & (np.arange(count) >= members.known)
    else:
        grams, gram_ends = _ngram_sets(members.words, members.ends, how.words)
        if how.similarity == "jaccard":
            keys, key_count = _dense(band_keys(members.signatures, how.bands, how.rows).ravel())
            kernel = _survivors if how.mode == "survivors" else _components
            goes, match, similarity = kernel(
                keys.reshape(count, how.bands),
                key_count,
                members.signatures,
                grams,
                gram_ends,
                how.threshold,
                _least_agreement(how.threshold, members.signatures.shape[1]),
                members.known,
            )
        else:
            found = [fingerprints(members.words[first:last]) for first, last in zip(members.ends, members.ends[1:])]
            key_ends = np.cumsum([0, *(len(some) for some in found)])
            keys, key_count = _dense(np.concatenate([np.empty(0, np.uint64), *found]))
            goes, match, similarity = _holders(
                keys,
                key_ends,
                key_count,
                members.words,
                members.ends,
                grams,
                gram_ends,
                how.words,
                how.threshold,
                members.known,
            )
    lost = _lost(goes, match, members.words, members.ends)
    similarity = np.where(match >= 0, similarity, np.nan)
    return Choice(goes, match, similarity, lost, np.diff(members.ends), how.mode == "survivors")


def _dense(keys: np.ndarray) -> tuple[np.ndarray, int]:
    """Keys as numbers from 0, and how many there are."""
    distinct, numbers = np.unique(keys, return_inverse=True)
    return numbers.astype(np.int64), len(distinct)


def _least_agreement(threshold: float, permutations: int) -> int:
    """The equal values of two signatures below which the documents are not compared."""
    deviation = (threshold * (1.0 - threshold) / permutations) ** 0.5
    return max(0, int(permutations * (threshold - _SIGMAS * deviation)))


@njit(cache=True)
def _ngram_sets(words: np.ndarray, ends: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The sets of n-grams of all documents, one behind the other, and where each begins and ends."""
    grams = np.empty(words.size, np.uint64)
    gram_ends = np.zeros(ends.size, np.int64)
    for document in range(ends.size - 1):
        found = ngram_set(words[ends[document] : ends[document + 1]], width)
        first = gram_ends[document]
        grams[first : first + found.size] = found
        gram_ends[document + 1] = first + found.size
    return grams[: gram_ends[-1]].copy(), gram_ends


@njit(cache=True)
def _agreement(left: np.ndarray, right: np.ndarray) -> int:
    equal = 0
    for index in range(left.size):
        equal += left[index] == right[index]
    return equal


@njit(cache=True)
def _survivors(
    keys: np.ndarray,
    key_count: int,
    signatures: np.ndarray,
    grams: np.ndarray,
    ends: np.ndarray,
    threshold: float,
    least: int,
    known: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count, bands = keys.shape
    head = np.full(key_count, -1, np.int64)
    behind = np.empty((count, bands), np.int64)
    seen = np.full(count, -1, np.int64)
    candidates = np.empty(count, np.int64)
    goes = np.zeros(count, np.bool_)
    match = np.full(count, -1, np.int64)
    similarity = np.full(count, -1.0)
    for document in range(count):
        found = 0
        # What never goes is compared with nothing.
        for band in range(bands if document >= known else 0):
            other = head[keys[document, band]]
            while other >= 0:
                if seen[other] != document:
                    seen[other] = document
                    candidates[found] = other
                    found += 1
                other = behind[other, band]
        if found > 1:
            candidates[:found].sort()
        own = grams[ends[document] : ends[document + 1]]
        for other in candidates[:found]:
            if _agreement(signatures[document], signatures[other]) < least:
                continue
            value = jaccard(own, grams[ends[other] : ends[other + 1]])
            if value > similarity[document]:
                match[document], similarity[document] = other, value
            if value >= threshold:
                goes[document] = True
                break
        if not goes[document]:
            for band in range(bands):
                behind[document, band] = head[keys[document, band]]
                head[keys[document, band]] = document
    return goes, match, similarity


@njit(cache=True)
def _root(parents: np.ndarray, document: int) -> int:
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = parents[document]
    return document


@njit(cache=True)
def _components(
    keys: np.ndarray,
    key_count: int,
    signatures: np.ndarray,
    grams: np.ndarray,
    ends: np.ndarray,
    threshold: float,
    least: int,
    known: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count, bands = keys.shape
    head = np.full(key_count, -1, np.int64)
    mixed = np.zeros(key_count, np.bool_)  # whether the documents of a key are in more than one component
    behind = np.empty((count, bands), np.int64)
    parents = np.arange(count)
    match = np.full(count, -1, np.int64)
    similarity = np.full(count, -1.0)
    for document in range(count):
        own = grams[ends[document] : ends[document + 1]]
        for band in range(bands):
            key = keys[document, band]
            other = head[key]
            while other >= 0:
                if _root(parents, other) != _root(parents, document):
                    if _agreement(signatures[document], signatures[other]) >= least:
                        value = jaccard(own, grams[ends[other] : ends[other + 1]])
                        if value >= threshold:
                            one, two = _root(parents, other), _root(parents, document)
                            # The root of a component is its first member, which stays.
                            parents[max(one, two)] = min(one, two)
                            for left, right in ((document, other), (other, document)):
                                if match[left] < 0 or similarity[left] < threshold:
                                    match[left], similarity[left] = right, value
                        elif value > similarity[document]:
                            match[document], similarity[document] = other, value
                elif not mixed[key]:
                    break  # all others of this key are in the document's component too
                other = behind[other, band]
            if head[key] >= 0 and _root(parents, head[key]) != _root(parents, document):
                mixed[key] = True
            behind[document, band] = head[key]
            head[key] = document
    goes = np.empty(count, np.bool_)
    for document in range(count):
        goes[document] = document >= known and _root(parents, document) != document
    return goes, match, similarity


@njit(cache=True)
def _all_but_the_last(
    keys: np.ndarray, key_count: int, signatures: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    last = np.full(key_count, -1, np.int64)
    match = np.full(keys.shape[0], -1, np.int64)
    similarity = np.full(keys.shape[0], np.nan)
    for document in order[::-1]:
        for key in keys[document]:
            if last[key] >= 0 and match[document] < 0:
                match[document] = last[key]
                similarity[document] = _agreement(signatures[document], signatures[last[key]]) / signatures.shape[1]
            last[key] = document
    return match, similarity


@njit(cache=True)
def _holders(
    keys: np.ndarray,
    key_ends: np.ndarray,
    key_count: int,
    words: np.ndarray,
    ends: np.ndarray,
    grams: np.ndarray,
    gram_ends: np.ndarray,
    width: int,
    threshold: float,
    known: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = ends.size - 1
    head = np.full(key_count, -1, np.int64)
    length = np.zeros(key_count, np.int64)
    behind = np.empty(keys.size, np.int64)  # the entry before, of a key's entries: positions in `keys`
    owner = np.empty(keys.size, np.int64)
    seen = np.full(count, -1, np.int64)
    candidates = np.empty(count, np.int64)
    goes = np.zeros(count, np.bool_)
    match = np.full(count, -1, np.int64)
    similarity = np.full(count, -1.0)
    for document in range(count):
        first, last = key_ends[document], key_ends[document + 1]
        own_words = words[ends[document] : ends[document + 1]]
        own = grams[gram_ends[document] : gram_ends[document + 1]]
        found = 0
        walked = 0
        # The rarest first: what holds the document has most of its fingerprints.
        for position in first + np.argsort(length[keys[first:last]], kind="mergesort"):
            if document < known or walked >= _MOST_WALKED:
                break
            entry = head[keys[position]]
            while entry >= 0 and walked < _MOST_WALKED:
                walked += 1
                other = owner[entry]
                if seen[other] != document:
                    seen[other] = document
                    candidates[found] = other
                    found += 1
                entry = behind[entry]
        if found > 1:
            candidates[:found].sort()
        for other in candidates[:found]:
            other_grams = grams[gram_ends[other] : gram_ends[other + 1]]
            if own.size and other_grams.size / own.size < threshold:
                continue
            other_words = words[ends[other] : ends[other + 1]]
            value = contained(own_words, own, other_words, other_grams, width)
            if value > similarity[document]:
                match[document], similarity[document] = other, value
            if value >= threshold:
                goes[document] = True
                break
        if not goes[document]:
            for position in range(first, last):
                key = keys[position]
                owner[position] = document
                behind[position] = head[key]
                head[key] = position
                length[key] += 1
    return goes, match, similarity


@njit(cache=True)
def _lost(goes: np.ndarray, match: np.ndarray, words: np.ndarray, ends: np.ndarray) -> np.ndarray:
    lost = np.zeros(goes.size, np.int64)
    before = -1
    stays = np.empty(0, np.uint64)
    # By match, so that the n-grams of a document that stays are sorted once, however many it stands for.
    for document in np.argsort(match, kind="mergesort"):
        other = match[document]
        if goes[document] and other >= 0:
            if other != before:
                stays = ngram_set(words[ends[other] : ends[other + 1]], LOST_WORDS)
                before = other
            own = ngram_set(words[ends[document] : ends[document + 1]], LOST_WORDS)
            lost[document] = own.size - count_common(own, stays)
    return lost
