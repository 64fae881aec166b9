"""Chooses the blocks of a page's main text, and writes them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.compiled import njit
from tasks.html.context import context_of
from tasks.html.features import Features, features_of
from tasks.html.forest import Forest, read_forests
from tasks.html.scan import ELEMENT_OF, END, START, STOPS, WIDTH, Scan
from tasks.html.vocabulary import ELEMENT, flags_of_elements

FOREST_FILE = Path(__file__).with_name("forest.npz")
# Other trees choose other texts: with the digest, the version of the stages that use them changes.
FOREST_SHA256 = "cb23b3f1f4fc60800d18f9a90449a945a092fb29c220616c38726331ae7d44f3"
# Limits of the threshold: below, a page is all doubt; above, half is as good as sure.
_LEAST, _GREATEST = 0.2, 0.5
_SENTENCE = 60
_TABLE, _TR, _LI = (ELEMENT[name] for name in ("table", "tr", "li"))
_IS_PRE = flags_of_elements("pre listing xmp plaintext")
_IS_CELL = flags_of_elements("td th")
# Columns of places.
_GROUP, _LISTING, _ROW, _CELL, _ITEM = range(5)


def main_text(page: Scan) -> str:
    """The main text of a scanned page, a block a line; empty if the page has no text.

    Items of lists begin with "- ". Rows of a table of data are lines with a bar between two cells, also around an empty
    one, as in "| Jan | | Mar". Listings keep their white space, and have no marks of items.
    """
    if not len(page.blocks):
        return ""
    features = features_of(page)
    return text_of(page, probabilities(page, features))


def text_of(page: Scan, probabilities: npt.NDArray[np.float64]) -> str:
    """The text of those blocks whose probabilities, shape (blocks,), promise the best F1."""
    places = _places(page.parents, page.elements, page.blocks)
    kept = best_by_f1(probabilities, page.blocks[:, WIDTH])
    _keep_whole(kept, places[:, _GROUP], page.blocks[:, WIDTH])
    written = _write(page.text, page.blocks, kept, places, page.elements)
    return bytes(written).decode()


def probabilities(page: Scan, features: Features) -> npt.NDArray[np.float64]:
    """The probability of each block to be main text: by what it is, then by what its neighbours are, too."""
    first, second = _forests()
    alone = first.probabilities(features.numbers, features.bits)
    return second.probabilities(with_context(page, features, alone), features.bits)


def with_context(page: Scan, features: Features, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The numbers of blocks, and the columns CONTEXT that these probabilities give: what the second look sees."""
    context = context_of(probabilities, page.blocks, page.parents, features.owners, features.containers)
    return np.concatenate((features.numbers, context), axis=1)


@functools.cache
def _forests() -> list[Forest]:
    """The trees of the first look and those of the second."""
    return read_forests(FOREST_FILE, FOREST_SHA256)


def best_by_f1(probabilities: npt.NDArray[np.float64], widths: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """The blocks with the greatest expected F1 of characters.

    They are those whose probability is at least half of that F1 (Lipton, Elkan, Naryanaswamy: Optimal thresholding of
    classifiers to maximize F1 measure, theorem 1). So a page of which nothing is certain is not empty.
    """
    return _best_by_f1(probabilities, widths)  # type: ignore[no-any-return]


@njit(cache=True)
def _best_by_f1(probabilities: Any, widths: Any) -> Any:
    expected = np.sum(probabilities * widths)
    kept = probabilities >= _GREATEST
    for _ in range(10):  # it stands still after a few
        right = np.sum(probabilities * widths * kept)
        f1 = 2 * right / max(np.sum(widths * kept) + expected, 1.0)
        kept = probabilities >= min(max(f1 / 2, _LEAST), _GREATEST)
    return kept


@njit(cache=True)
def _places(parents: Any, elements: Any, blocks: Any) -> Any:
    """Where each block stands: the listing or table of data that stays or goes as a whole, the listing, the row of a
    table of data, the cell's column among those that hold text, and the item of a list; -1 for none.

    A table of data has two rows and two cells a row at least, no table in it, and less than half of its text in
    sentences: others are there for the look.
    """
    count = len(parents)
    table, rows, cells = np.full(count, -1), np.zeros(count), np.zeros(count)
    widths, prose = np.zeros((2, count))
    columns = np.zeros(count, np.int32)
    around = np.full((count, 5), -1, np.int32)
    for element in range(count):
        parent, kind = parents[element], elements[element]
        own = around[element]
        if parent >= 0:
            own[:] = around[parent]
            table[element] = table[parent]
        if kind == _LI:
            own[_ITEM] = element
        if _IS_PRE[kind] and own[_LISTING] < 0:
            own[_LISTING] = element
        if kind == _TABLE:
            if table[element] >= 0:
                prose[table[element]] = np.inf
            table[element], own[_ROW], own[_CELL] = element, -1, -1
        elif table[element] >= 0:
            if kind == _TR:
                own[_ROW], own[_CELL] = element, -1
                rows[table[element]] += 1
            elif _IS_CELL[kind]:
                own[_CELL] = cells[own[_ROW]] if own[_ROW] >= 0 else 0
                cells[own[_ROW]] += own[_ROW] >= 0
                cells[table[element]] += 1
                columns[table[element]] = max(columns[table[element]], own[_CELL] + 1)
    starts = np.cumsum(columns) - columns
    filled = np.zeros(np.sum(columns) + 1, np.int32)
    for block in blocks:
        grid = table[block[ELEMENT_OF]]
        if grid >= 0:
            if around[block[ELEMENT_OF], _CELL] >= 0:
                filled[starts[grid] + around[block[ELEMENT_OF], _CELL]] = 1
            widths[grid] += block[WIDTH]
            prose[grid] += block[WIDTH] if block[WIDTH] >= _SENTENCE and block[STOPS] > 0 else 0
    before = np.cumsum(filled) - filled
    places = np.empty((len(blocks), 5), np.int32)
    for index in range(len(blocks)):
        element = blocks[index, ELEMENT_OF]
        place, grid = places[index], table[element]
        place[:] = around[element]
        data = grid >= 0 and rows[grid] >= 2 and cells[grid] >= 2 * rows[grid] and 2 * prose[grid] < widths[grid]
        place[_GROUP] = place[_LISTING] if place[_LISTING] >= 0 or not data else grid
        if place[_LISTING] >= 0 or not data:
            place[_ROW] = -1
        elif place[_CELL] >= 0:
            place[_CELL] = before[starts[grid] + place[_CELL]] - before[starts[grid]]
    return places


@njit(cache=True)
def _keep_whole(kept: Any, groups: Any, widths: Any) -> None:
    """A listing or table of data stays or goes as a whole: by most of its text, or with the text before and behind."""
    start = 0
    while start < len(groups):
        end = start + 1
        while end < len(groups) and groups[end] == groups[start]:
            end += 1
        if groups[start] >= 0:
            most = 2 * np.sum(widths[start:end] * kept[start:end]) >= np.sum(widths[start:end])
            within = start > 0 and kept[start - 1] and end < len(groups) and kept[end]
            kept[start:end] = most or within
        start = end


@njit(cache=True)
def _write(text: Any, blocks: Any, kept: Any, places: Any, elements: Any) -> Any:
    written = np.empty(len(text) + 3 * (len(blocks) + len(elements)), np.uint8)
    begun = np.zeros(len(elements), np.bool_)  # rows and items
    cells = np.zeros(len(elements), np.int32)  # the last one of each row
    length = 0
    last_row = -1
    for index in range(len(blocks)):
        if not kept[index]:
            continue
        row, cell, item = places[index, _ROW], places[index, _CELL], places[index, _ITEM]
        same_row = row >= 0 and row == last_row
        if length:
            written[length] = 32 if same_row else 10
            length += 1
        if row >= 0:
            bars = max(cell - cells[row], 0) if same_row or not begun[row] else 0
            for _ in range(bars):
                written[length], written[length + 1] = 124, 32
                length += 2
            begun[row], cells[row] = True, max(cell, cells[row])
        elif item >= 0 and not begun[item] and places[index, _LISTING] < 0:
            written[length], written[length + 1] = 45, 32  # a hyphen and a space
            length += 2
        if item >= 0:
            begun[item] = True
        start, end = blocks[index, START], blocks[index, END]
        written[length : length + end - start] = text[start:end]
        length += end - start
        last_row = row
    return written[:length]
