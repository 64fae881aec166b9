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
FOREST_SHA256 = "eb37a7a07f0fa36e717b4872d87a608c8e826431db1da60d4d9c58ee539c0d63"
# Limits of the threshold: below, a page is all doubt; above, half is as good as sure.
_LEAST, _GREATEST = 0.2, 0.5
_SENTENCE = 60
_TABLE, _TR, _LI = (ELEMENT[name] for name in ("table", "tr", "li"))
_IS_PRE = flags_of_elements("pre listing xmp plaintext")
_IS_CELL = flags_of_elements("td th")


def main_text(page: Scan) -> str:
    """The main text of a scanned page, a block a line; empty if the page has no text.

    Items of lists begin with "- "; cells of a row are separated by " | "; listings keep their white space.
    """
    if not len(page.blocks):
        return ""
    features = features_of(page)
    return text_of(page, features, probabilities(page, features))


def text_of(page: Scan, features: Features, probabilities: npt.NDArray[np.float64]) -> str:
    """The text of those blocks whose probabilities, shape (blocks,), promise the best F1."""
    groups, rows = _groups(page.parents, page.elements, page.blocks)
    kept = best_by_f1(probabilities, page.blocks[:, WIDTH])
    _keep_whole(kept, groups, page.blocks[:, WIDTH])
    written = _write(page.text, page.blocks, page.elements, features.owners, kept, rows)
    return bytes(written).decode()


def probabilities(page: Scan, features: Features) -> npt.NDArray[np.float64]:
    """The probability of each block to be main text: by what it is, then by what its neighbours are, too."""
    first, second = _forests()
    alone = first.probabilities(features.numbers, features.bits)
    context = context_of(alone, page.blocks, page.parents, features.owners, features.containers)
    return second.probabilities(np.concatenate((features.numbers, context), axis=1), features.bits)


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
def _groups(parents: Any, elements: Any, blocks: Any) -> tuple[Any, Any]:
    """For each block, the listing or table of data that it stands in, and the row of such a table; -1 for none.

    A table of data has two rows and two cells a row at least, no table in it, and less than half of its text in
    sentences: others are there for the look.
    """
    count = len(parents)
    listing, table, row = np.full(count, -1), np.full(count, -1), np.full(count, -1)
    rows, cells, widths, prose = np.zeros((4, count))
    for element in range(count):
        parent, kind = parents[element], elements[element]
        if parent >= 0:
            listing[element], table[element], row[element] = listing[parent], table[parent], row[parent]
        if _IS_PRE[kind] and listing[element] < 0:
            listing[element] = element
        if kind == _TABLE:
            if table[element] >= 0:
                prose[table[element]] = np.inf
            table[element], row[element] = element, -1
        elif table[element] >= 0:
            if kind == _TR:
                row[element] = element
                rows[table[element]] += 1
            elif _IS_CELL[kind]:
                cells[table[element]] += 1
    for block in blocks:
        around = table[block[ELEMENT_OF]]
        if around >= 0:
            widths[around] += block[WIDTH]
            prose[around] += block[WIDTH] if block[WIDTH] >= _SENTENCE and block[STOPS] > 0 else 0
    groups, rows_of_blocks = np.full(len(blocks), -1), np.full(len(blocks), -1)
    for index in range(len(blocks)):
        element = blocks[index, ELEMENT_OF]
        around = table[element]
        if listing[element] >= 0:
            groups[index] = listing[element]
            continue
        data = around >= 0 and rows[around] >= 2 and cells[around] >= 2 * rows[around]
        if data and 2 * prose[around] < widths[around]:
            groups[index], rows_of_blocks[index] = around, row[element]
    return groups, rows_of_blocks


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
def _write(text: Any, blocks: Any, elements: Any, owners: Any, kept: Any, rows: Any) -> Any:
    written = np.empty(len(text) + 3 * len(blocks), np.uint8)
    length = 0
    last_row = last_owner = -1
    for index in range(len(blocks)):
        if not kept[index]:
            continue
        before = b""
        if length and rows[index] >= 0 and rows[index] == last_row:
            before = b" | "
        elif elements[owners[index]] == _LI and owners[index] != last_owner:
            before = b"\n- " if length else b"- "
        elif length:
            before = b"\n"
        for byte in before:
            written[length] = byte
            length += 1
        start, end = blocks[index, START], blocks[index, END]
        written[length : length + end - start] = text[start:end]
        length += end - start
        last_row, last_owner = rows[index], owners[index]
    return written[:length]
