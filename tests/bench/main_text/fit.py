"""Fits the two forests, and measures them by cross-validation over sites."""

from __future__ import annotations

import json
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.html import choice
from tasks.html.forest import Forest
from tests.bench.main_text.pages import LabelledPage
from tests.bench.peers.environment import Peer, environment

LIGHTGBM = Peer("lightgbm", ("lightgbm==4.7.0",))
FOLDS = 10
ROUNDS = (80, 60)
Columns = Sequence[npt.NDArray[np.float32]]


def unseen(pages: Sequence[LabelledPage], numbers: Columns, rounds: int) -> list[npt.NDArray[np.float64]]:
    """The probabilities of each page's blocks, by trees that learned from other sites' pages only."""
    found: list[Any] = [None] * len(pages)
    folds = [zlib.crc32(page.site.encode()) % FOLDS for page in pages]
    for fold in range(FOLDS):
        learned = [n for n, own in enumerate(folds) if own != fold]
        forest = fit([pages[n] for n in learned], [numbers[n] for n in learned], rounds)
        for n, own in enumerate(folds):
            if own == fold:
                found[n] = forest.probabilities(numbers[n], pages[n].features.bits)
        print(f"fold {fold + 1} of {FOLDS}", flush=True)
    return found


def with_context(pages: Sequence[LabelledPage], probabilities: Sequence[npt.NDArray[np.float64]]) -> Columns:
    """The numbers of pages, and the context that probabilities of their blocks give."""
    return [
        choice.with_context(page.page, page.features, given) for page, given in zip(pages, probabilities, strict=True)
    ]


def fit(pages: Sequence[LabelledPage], numbers: Columns, rounds: int) -> Forest:
    """A forest for these columns of the pages' blocks."""
    with tempfile.TemporaryDirectory(prefix="millrace-fit-") as folder:
        given, out = Path(folder) / "given.npz", Path(folder) / "trees.json"
        np.savez(
            given,
            numbers=np.concatenate(list(numbers)),
            bits=np.concatenate([page.features.bits for page in pages]),
            labels=np.concatenate([page.labels for page in pages]),
            weights=np.concatenate([page.weights for page in pages]),
            rounds=rounds,
        )
        script = Path(__file__).with_name("lightgbm_trees.py")
        subprocess.run([str(environment(LIGHTGBM)), str(script), str(given), str(out)], check=True)
        return _forest(json.loads(out.read_text()), numbers[0].shape[1])


def _forest(trees: Sequence[dict[str, Any]], first_bit: int) -> Forest:
    features: list[int] = []
    thresholds: list[float] = []
    sides: tuple[list[int], list[int]] = ([], [])
    leaves: list[float] = []

    def add(node: dict[str, Any]) -> int:
        if "leaf_value" in node:
            leaves.append(node["leaf_value"])
            return -len(leaves)
        assert node["decision_type"] == "<="
        place = len(features)
        features.append(node["split_feature"])
        thresholds.append(node["threshold"])
        for side in sides:
            side.append(0)
        sides[0][place] = add(node["left_child"])
        sides[1][place] = add(node["right_child"])
        return place

    roots = [add(tree) for tree in trees]
    whole = (np.array(values, np.int32) for values in (roots, features))
    children = (np.array(side, np.int32) for side in sides)
    return Forest(first_bit, *whole, np.array(thresholds), *children, np.array(leaves))
