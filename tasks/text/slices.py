"""Words, lines and paragraphs of a text as slices of an array of code points, and which of them are equal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from infra.compiled import njit
from tasks.text.mixing import mix

Points = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.uint16]
Places = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def split_words(flags: Flags, space: int) -> tuple[Places, Places]:
    """Where the runs of characters without the flag `space` start and end."""
    starts = np.empty(len(flags) // 2 + 1, np.int64)
    ends = np.empty(len(flags) // 2 + 1, np.int64)
    words = 0
    inside = False
    for place in range(len(flags)):
        blank = flags[place] & space != 0
        if blank == inside:
            if inside:
                ends[words] = place
                words += 1
            else:
                starts[words] = place
            inside = not inside
    if inside:
        ends[words] = len(flags)
        words += 1
    return starts[:words], ends[:words]


@njit(cache=True, nogil=True)
def split_runs(flags: Flags, starts: Places, ends: Places, part: int) -> tuple[Places, Places]:
    """Where the runs of characters with the flag `part` start and end within slices."""
    runs = 0
    first = np.empty(len(flags), np.int64)
    last = np.empty(len(flags), np.int64)
    for word in range(len(starts)):
        inside = False
        for place in range(starts[word], ends[word]):
            if (flags[place] & part != 0) != inside:
                if inside:
                    last[runs] = place
                    runs += 1
                else:
                    first[runs] = place
                inside = not inside
        if inside:
            last[runs] = ends[word]
            runs += 1
    return first[:runs], last[:runs]


@njit(cache=True, nogil=True)
def stripped_lines(points: Points, flags: Flags, space: int) -> tuple[Points, Places, Places, Places, Places]:
    """Lines and paragraphs: the code points of all paragraphs, then starts and ends of lines and of paragraphs in them.

    A line is what stands between line feeds, without white space (flag `space`) around it; blank ones do not count. A
    paragraph is a run of lines between blank ones: its stripped lines, joined by line feeds.
    """
    kept = np.empty(len(points) + 1, np.uint32)
    most = 1
    for point in points:
        if point == 10:
            most += 1
    line_starts = np.empty(most, np.int64)
    line_ends = np.empty(most, np.int64)
    starts = np.empty(most, np.int64)
    ends = np.empty(most, np.int64)
    lines = 0
    paragraphs = 0
    size = 0
    inside = False
    begin = 0
    while begin <= len(points):
        end = begin
        while end < len(points) and points[end] != 10:
            end += 1
        first = begin
        last = end
        while first < last and flags[first] & space != 0:
            first += 1
        while last > first and flags[last - 1] & space != 0:
            last -= 1
        if first < last:
            if inside:
                kept[size] = 10
                size += 1
            else:
                starts[paragraphs] = size
                inside = True
            line_starts[lines] = size
            for place in range(first, last):
                kept[size] = points[place]
                size += 1
            line_ends[lines] = size
            lines += 1
        elif inside:
            ends[paragraphs] = size
            paragraphs += 1
            inside = False
        begin = end + 1
    if inside:
        ends[paragraphs] = size
        paragraphs += 1
    return kept[:size], line_starts[:lines], line_ends[:lines], starts[:paragraphs], ends[:paragraphs]


@njit(cache=True, nogil=True)
def number_slices(points: Points, starts: Places, ends: Places) -> tuple[Places, int]:
    """The number of each slice, and how many there are: equal slices have equal numbers, from 0 in order of appearance.

    Slices are compared, so that equal hashes do not merge different ones.
    """
    total = len(starts)
    numbers = np.empty(total, np.int64)
    representative = np.empty(total, np.int64)
    slots = 16
    while slots < 2 * total:
        slots *= 2
    held = np.full(slots, -1, np.int64)
    hashes = np.empty(slots, np.uint64)
    distinct = 0
    for item in range(total):
        state = np.uint64(0xCBF29CE484222325)  # FNV-1a (Fowler, Noll, Vo)
        for place in range(starts[item], ends[item]):
            state = (state ^ np.uint64(points[place])) * np.uint64(0x100000001B3)
        state = mix(state)
        slot = np.int64(state & np.uint64(slots - 1))
        found = -1
        while held[slot] != -1:
            if hashes[slot] == state:
                other = representative[held[slot]]
                length = ends[item] - starts[item]
                if ends[other] - starts[other] == length:
                    place = 0
                    while place < length and points[starts[other] + place] == points[starts[item] + place]:
                        place += 1
                    if place == length:
                        found = held[slot]
                        break
            slot = (slot + 1) & (slots - 1)
        if found == -1:
            held[slot] = distinct
            hashes[slot] = state
            representative[distinct] = item
            found = distinct
            distinct += 1
        numbers[item] = found
    return numbers, distinct


@njit(cache=True, nogil=True)
def later_copies(numbers: Places, distinct: int, starts: Places, ends: Places) -> tuple[int, int]:
    """How many slices are copies of earlier ones, and their characters."""
    seen = np.zeros(distinct, np.bool_)
    copies = 0
    characters = 0
    for item in range(len(numbers)):
        if seen[numbers[item]]:
            copies += 1
            characters += ends[item] - starts[item]
        seen[numbers[item]] = True
    return copies, characters
