"""Words of a text: runs of characters other than white space, cut further in scripts that have no spaces.

Chinese, Japanese, Thai, Lao, Khmer and Burmese have no spaces between words. There, ICU's word boundaries cut (Unicode
Standard Annex 29, with ICU's dictionaries of these scripts). Punctuation stays with the word before it, as it does in
other scripts. A run without a character of such scripts is one word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from icu4py.breakers import WordBreaker

from infra.compiled import njit
from tasks.text.characters import LETTER, NUMERIC, SPACE, UNSPACED, WORD, code_points, flags_of
from tasks.text.slices import Flags, Places, Points, split_runs, split_words

_TOGETHER = 1 << 14  # characters


@dataclass(frozen=True, slots=True)
class Segmented:
    """A text's code points and their flags, and where its words start and end."""

    points: Points
    flags: Flags
    starts: Places
    ends: Places

    def runs(self) -> tuple[Places, Places]:
        """Where the runs of letters, marks, digits and "_" within words start and end."""
        return split_runs(self.flags, self.starts, self.ends, WORD)


def segment(text: str) -> Segmented:
    """The words of a text."""
    points = code_points(text)
    flags = flags_of(points)
    starts, ends = split_words(flags, SPACE)
    if not (flags & UNSPACED).any():
        return Segmented(points, flags, starts, ends)
    unspaced = _any_in(flags, starts, ends, UNSPACED)
    cuts = _cuts(text, starts[unspaced], ends[unspaced])
    cuts = cuts[(flags[cuts] & (LETTER | NUMERIC)) != 0]
    starts = np.unique(np.concatenate([starts, cuts]))
    return Segmented(points, flags, *_without_openings(flags, starts, ends, WORD))


def _cuts(text: str, starts: Places, ends: Places) -> Places:
    """Where ICU cuts runs of a text. Many short runs go to it together: it breaks at each line feed between them."""
    sizes = ends - starts + 1
    found = [np.empty(0, np.int64)]
    for group in np.split(np.arange(len(starts)), np.flatnonzero(np.diff(np.cumsum(sizes) // _TOGETHER)) + 1):
        joined = "\n".join([text[start:end] for start, end in zip(starts[group].tolist(), ends[group].tolist())])
        begins = _in_code_points(joined, [begin for begin, _ in WordBreaker(joined, "root").segments()])
        firsts = np.cumsum(sizes[group]) - sizes[group]
        run = np.searchsorted(firsts, begins, "right") - 1
        places = begins - firsts[run] + starts[group][run]
        found.append(places[places < ends[group][run]])
    return np.concatenate(found)


def _in_code_points(text: str, places: list[int]) -> Places:
    """Places in a text that are counted in units of UTF-16, as ICU does, of which an emoji has two."""
    wide = code_points(text) > 0xFFFF
    found = np.array(places, np.int64)
    return np.searchsorted(np.arange(len(wide)) + np.cumsum(wide) - wide, found) if wide.any() else found


@njit(cache=True, nogil=True)
def _any_in(flags: Flags, starts: Places, ends: Places, flag: int) -> np.ndarray:
    found = np.zeros(len(starts), np.bool_)
    for word in range(len(starts)):
        for place in range(starts[word], ends[word]):
            if flags[place] & flag != 0:
                found[word] = True
                break
    return found


@njit(cache=True, nogil=True)
def _without_openings(flags: Flags, cuts: Places, run_ends: Places, word: int) -> tuple[Places, Places]:
    """Words between cuts. What stands before the first letter of a run is part of its first word."""
    starts = np.empty(len(cuts), np.int64)
    ends = np.empty(len(cuts), np.int64)
    words = 0
    cut = 0
    for run in range(len(run_ends)):
        run_start = cuts[cut]
        starts[words] = run_start
        cut += 1
        lettered = False
        place = run_start
        while cut < len(cuts) and cuts[cut] < run_ends[run]:
            while place < cuts[cut]:
                lettered = lettered or flags[place] & word != 0
                place += 1
            if lettered:
                ends[words] = cuts[cut]
                words += 1
                starts[words] = cuts[cut]
            cut += 1
        ends[words] = run_ends[run]
        words += 1
    return starts[:words], ends[:words]
