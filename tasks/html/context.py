"""How probable the blocks around each block are: the second look at a page."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from infra.compiled import njit
from tasks.html.scan import WIDTH

_NEIGHBOURS = 4
CONTEXT = (
    "probability",
    *(f"probability_{side}_{n + 1}" for n in range(_NEIGHBOURS) for side in ("before", "behind")),
    *(f"container_{n}_{what}" for n in range(4) for what in ("probability", "share", "blocks")),
    *("page_probability", "page_width_kept", "page_most", "probability_of_10", "probability_of_30"),
)


@njit(cache=True)
def context_of(probabilities: Any, blocks: Any, parents: Any, owners: Any, containers: Any) -> npt.NDArray[np.float32]:
    """Columns CONTEXT for every block. Means are weighted by width, the first container is the block's own element."""
    count, found = len(parents), len(blocks)
    columns = np.zeros((found, len(CONTEXT)), np.float32)
    kept, widths, held = np.zeros((3, count))
    sums = np.zeros((2, found + 1))
    most = 0.0
    for index in range(found):
        owner, width = owners[index], blocks[index, WIDTH]
        kept[owner] += probabilities[index] * width
        widths[owner] += width
        held[owner] += 1
        sums[0, index + 1] = sums[0, index] + probabilities[index] * width
        sums[1, index + 1] = sums[1, index] + width
        most = max(most, probabilities[index])
    for element in range(count - 1, 0, -1):
        parent = parents[element]
        if parent >= 0:
            kept[parent] += kept[element]
            widths[parent] += widths[element]
            held[parent] += held[element]
    mass, total = sums[0, found], max(sums[1, found], 1.0)
    for index in range(found):
        row = columns[index]
        row[0] = probabilities[index]
        for step in range(1, _NEIGHBOURS + 1):
            row[2 * step - 1] = probabilities[index - step] if index >= step else -1
            row[2 * step] = probabilities[index + step] if index + step < found else -1
        container = owners[index]
        for level in range(4):
            at = 2 * _NEIGHBOURS + 1 + 3 * level
            row[at] = kept[container] / max(widths[container], 1.0)
            row[at + 1] = kept[container] / max(mass, 1.0)
            row[at + 2] = held[container]
            container = containers[container]
        row[21], row[22], row[23] = mass / total, mass, most
        for place, reach in enumerate((5, 15)):
            low, high = max(0, index - reach), min(found, index + reach + 1)
            row[24 + place] = (sums[0, high] - sums[0, low]) / max(sums[1, high] - sums[1, low], 1.0)
    return columns
