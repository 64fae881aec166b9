"""How well a classifier tells positive documents from negative ones that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

DECIMALS = 4
_THRESHOLDS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_SHORT = (100, 300)  # words

Numbers = npt.NDArray[np.float64]


def area(positive: Numbers, negative: Numbers) -> float | None:
    """The area under the ROC curve: how often a positive document has the higher score; equal ones count half.

    None without documents of both classes. Mann and Whitney (1947): from the sum of the ranks of one class.
    """
    if not len(positive) or not len(negative):
        return None
    ranks = rankdata(np.concatenate([positive, negative]))
    above = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return round(float(above / (len(positive) * len(negative))), DECIMALS)


def measure(
    scores: Sequence[float], labels: Sequence[bool], words: Sequence[int], lengths: Sequence[int]
) -> dict[str, Any]:
    """What the report says of held-out lines: their scores, whether they are positive, their words and whole lengths.

    `auc`, also of lines with few words; what a threshold keeps of each class; and the areas of the number of words
    alone, as the lines are (0.5: it tells nothing) and before they were cut.
    """
    score, positive = np.array(scores, float), np.array(labels, bool)
    counted, whole = np.array(words, float), np.array(lengths, float)

    def of(values: Numbers, chosen: npt.NDArray[np.bool_]) -> float | None:
        return area(values[positive & chosen], values[~positive & chosen])

    every = np.ones(len(score), bool)
    return {
        "auc": of(score, every),
        "auc_by_words": {f"up_to_{most}": of(score, counted <= most) for most in _SHORT},
        "auc_of_length": {"as_trained": of(counted, every), "whole": of(whole, every)},
        "kept": {
            str(threshold): {
                "positive": _share(score[positive] >= threshold),
                "negative": _share(score[~positive] >= threshold),
            }
            for threshold in _THRESHOLDS
        },
    }


def _share(chosen: npt.NDArray[np.bool_]) -> float | None:
    return round(float(chosen.mean()), DECIMALS) if len(chosen) else None
