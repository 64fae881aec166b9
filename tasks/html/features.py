"""What is known of each block of a page: itself, its neighbours, the elements that contain it, and their names."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infra.compiled import njit
from tasks.html.scan import (
    CAPITALS,
    DIGITS,
    ELEMENT_OF,
    END,
    IN_BOLD,
    IN_LINKS,
    START,
    STOPS,
    WIDTH,
    Scan,
)
from tasks.html.vocabulary import (
    ELEMENT,
    ELEMENTS,
    FNV,
    FNV_PRIME,
    IS_BLOCK,
    MEANINGS,
    flags_of_elements,
    numbers_of_elements,
)

# Containers of a block are the elements around it that hold more blocks than the one before: the first is that of the
# block's element with its siblings. Prose is text of blocks with a sentence, mostly outside of links. The body is the
# element under which most prose stands, not counted more than two levels up.
NUMBERS = (
    *("width", "in_links", "in_bold", "stops", "digits", "capitals", "kind", "depth", "end", "place", "share_before"),
    *("width_before", "links_before", "width_before_2", "links_before_2"),
    *("width_behind", "links_behind", "width_behind_2", "links_behind_2", "kind_before", "kind_behind"),
    *("container_width", "container_links", "container_blocks", "container_prose", "container_children"),
    *("container_2_width", "container_2_links", "container_2_blocks", "container_2_prose", "container_2_children"),
    *("container_3_width", "container_3_links", "container_3_blocks", "container_3_prose"),
    *("container_4_links", "container_4_prose"),
    *("in_body", "levels_above_body", "levels_to_body_path", "levels_below_body", "blocks_from_body", "body_prose"),
    *("blocks_from_heading", "width_from_heading", "is_heading", "times", "hidden", "hidden_from_readers"),
    *("page_width", "page_blocks", "page_links", "page_prose"),
    *("blocks_since_prose", "blocks_until_prose", "blocks_since_link", "blocks_until_link"),
)
_AROUND = (
    *("article", "main", "nav menu", "aside", "header", "footer", "form fieldset", "table", "ul ol"),
    *("figure figcaption", "blockquote", "section", "dl", "details", "noscript", "address"),
)
# A bit each: elements around the block; meanings of its own element's words, of those of the next three too, of all.
BITS = (
    *(f"in {names}" for names in _AROUND),
    *("" for _ in range(64 - len(_AROUND))),
    *(f"{whose} {line.split()[0]}" for whose in ("own", "near", "around") for line in MEANINGS),
)
_KINDS = "p|li|h1|h2|h3|h4 h5 h6|td|th|div|blockquote|pre|figcaption caption|dt|dd|section|article|summary|body"
_KIND = numbers_of_elements({name: n + 1 for n, names in enumerate(_KINDS.split("|")) for name in names.split()})
_AROUND_BITS = np.zeros(len(ELEMENTS), np.uint64)
for _bit, _names in enumerate(_AROUND):
    _AROUND_BITS |= flags_of_elements(_names).astype(np.uint64) << np.uint64(_bit)
_H1, _HTML, _BODY = ELEMENT["h1"], ELEMENT["html"], ELEMENT["body"]
_LONG_PROSE = 100
_FAR = 99.0


class Features(NamedTuple):
    """Rows of blocks: `numbers` has the columns NUMBERS, `bits` the BITS in groups of 64. `owners` is the element that
    breaks the lines around each block, and `containers`, a row an element, the next one around that holds more blocks.
    """

    numbers: npt.NDArray[np.float32]
    bits: npt.NDArray[np.uint64]
    owners: npt.NDArray[np.int32]
    containers: npt.NDArray[np.int32]


def features_of(page: Scan) -> Features:
    """The features of every block, in time that is linear in elements and blocks."""
    return Features(*_features(*page))


@njit(cache=True)
def _features(
    parents: Any, depths: Any, elements: Any, meanings: Any, flags: Any, blocks: Any, text: Any
) -> tuple[Any, Any, Any, Any]:
    count, found = len(parents), len(blocks)
    numbers = np.zeros((found, len(NUMBERS)), np.float32)
    bits = np.zeros((found, 4), np.uint64)
    owners = np.zeros(found, np.int32)
    prose = np.zeros(found)
    hashes = np.zeros(found, np.uint64)
    breaker = np.zeros(count, np.int32)
    around, own_meanings, all_meanings = np.zeros((3, count), np.uint64)
    all_flags = np.zeros(count, np.uint8)
    children = np.zeros(count, np.int32)
    widths, links, held, proses, scores = np.zeros((5, count))
    for element in range(count):
        parent = max(parents[element], 0)
        kind = elements[element]
        breaks = IS_BLOCK[kind] or element == 0
        breaker[element] = element if breaks else breaker[parent]
        own_meanings[element] = meanings[element] | (np.uint64(0) if breaks else own_meanings[parent])
        children[parent] += breaks
        around[element] = around[parent] | _AROUND_BITS[kind]
        all_flags[element] = all_flags[parent] | flags[element]
        # Words of the whole page say nothing of a part.
        all_meanings[element] = all_meanings[parent] | meanings[element] if kind not in (_HTML, _BODY) else 0
    for index in range(found):
        block = blocks[index]
        owner = breaker[block[ELEMENT_OF]]
        owners[index] = owner
        width, linked = block[WIDTH], block[IN_LINKS]
        hashes[index] = _hash(text, block[START], block[END])
        if width >= 40 and linked < 0.4 * width and (block[STOPS] > 0 or width >= 120):
            prose[index] = width - linked
            parent = parents[owner]
            scores[owner] += 0.3 * prose[index]
            if parent >= 0:
                scores[parent] += prose[index]
                if parents[parent] >= 0:
                    scores[parents[parent]] += 0.5 * prose[index]
        widths[owner] += width
        links[owner] += linked
        held[owner] += 1
        proses[owner] += prose[index]
    for element in range(count - 1, 0, -1):
        parent = parents[element]
        if parent >= 0:
            widths[parent] += widths[element]
            links[parent] += links[element]
            held[parent] += held[element]
            proses[parent] += proses[element]
    body = int(np.argmax(scores)) if count else 0
    containers = np.zeros(count, np.int32)
    on_path = np.zeros(count, np.bool_)
    element = body
    while element >= 0 and count:
        on_path[element] = True
        element = parents[element]
    path = np.zeros(count, np.int32)  # the lowest element of the path to the body that contains each element
    for element in range(count):
        parent = parents[element]
        if parent >= 0:
            containers[element] = containers[parent] if held[parent] == held[element] else parent
        path[element] = element if on_path[element] else path[max(parent, 0)]
    total = max(np.sum(blocks[:, WIDTH]), 1)
    total_links = np.sum(blocks[:, IN_LINKS])
    total_prose = max(np.sum(prose), 1.0)
    first, last, heading = found, -1, -1
    for index in range(found):
        if prose[index] > 0 and path[owners[index]] == body:
            first, last = min(first, index), index
        if heading < 0 and elements[owners[index]] == _H1:
            heading = index
    in_order = np.sort(hashes)
    before, at_heading = 0.0, -1.0
    for index in range(found):
        block, owner, row = blocks[index], owners[index], numbers[index]
        width = block[WIDTH]
        row[0] = width
        row[1], row[2], row[3] = block[IN_LINKS] / width, block[IN_BOLD] / width, block[STOPS] / width
        row[4], row[5] = block[DIGITS] / width, block[CAPITALS] / width
        row[6], row[7] = _KIND[elements[owner]], depths[owner]
        row[8] = _end(text[block[END] - 1])
        row[9], row[10] = index / found, before / total
        for place, other in enumerate((index - 1, index - 2, index + 1, index + 2)):
            inside = 0 <= other < found
            row[11 + 2 * place] = blocks[other, WIDTH] if inside else -1
            row[12 + 2 * place] = blocks[other, IN_LINKS] / blocks[other, WIDTH] if inside else -1
        row[19] = _KIND[elements[owners[index - 1]]] if index else -1
        row[20] = _KIND[elements[owners[index + 1]]] if index + 1 < found else -1
        at = 21
        container = owner
        for level in range(3):
            container = containers[container]
            row[at], row[at + 1] = widths[container], links[container] / max(widths[container], 1.0)
            row[at + 2], row[at + 3] = held[container], proses[container] / total_prose
            row[at + 4] = children[container]  # the third's is overwritten
            at += 5 if level < 2 else 4
        container = containers[container]
        row[35], row[36] = links[container] / max(widths[container], 1.0), proses[container] / total_prose
        lowest = path[owner]
        row[37] = lowest == body
        row[38], row[39], row[40] = (
            depths[body] - depths[lowest],
            depths[owner] - depths[lowest],
            depths[owner] - depths[body],
        )
        row[41] = min(index - first, 0) + max(index - last, 0)
        row[42] = proses[body] / total_prose
        row[43] = index - heading if heading >= 0 else -999
        row[44] = before - at_heading if at_heading >= 0 else -1
        if index == heading:
            at_heading = before
        row[45] = heading >= 0 and hashes[index] == hashes[heading]
        row[46] = np.searchsorted(in_order, hashes[index], side="right") - np.searchsorted(in_order, hashes[index])
        row[47], row[48] = all_flags[owner] & 1, all_flags[owner] >> 1
        row[49], row[50], row[51], row[52] = total, found, total_links / total, total_prose
        before += width
        bits[index, 0] = around[owner]
        own = own_meanings[block[ELEMENT_OF]]
        near, element = own, owner
        for _ in range(3):
            element = parents[element] if element >= 0 else -1
            near |= meanings[element] if element >= 0 else np.uint64(0)
        bits[index, 1], bits[index, 2], bits[index, 3] = own, near, all_meanings[owner] | own
    _distances(numbers, blocks, prose)
    return numbers, bits, owners, containers


@njit(cache=True)
def _distances(numbers: Any, blocks: Any, prose: Any) -> None:
    """The last four columns: how many blocks lie between each block and the next long prose or link."""
    for forward in (True, False):
        to_prose = to_link = _FAR
        for step in range(len(blocks)):
            index = step if forward else len(blocks) - 1 - step
            numbers[index, 53 if forward else 54] = to_prose
            numbers[index, 55 if forward else 56] = to_link
            to_prose = 0.0 if prose[index] > _LONG_PROSE else to_prose + 1
            to_link = 0.0 if blocks[index, IN_LINKS] > 0.7 * blocks[index, WIDTH] else to_link + 1


@njit(cache=True)
def _hash(text: Any, start: int, end: int) -> np.uint64:
    value = FNV
    for position in range(start, end):
        value = (value ^ np.uint64(text[position])) * FNV_PRIME
    return value


@njit(cache=True)
def _end(byte: int) -> int:
    """How a text ends: with a sentence, a colon, a character beyond ASCII, or otherwise."""
    if byte in (33, 34, 46, 63):
        return 2
    if byte == 58:
        return 1
    return 3 if byte >= 128 else 0
