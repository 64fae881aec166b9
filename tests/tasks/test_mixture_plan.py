"""What a run reads of each source is what the order of its data reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from infra.store.tokens import TokenFile, TokenWriter
from model.order import DataOrder, MixtureSource
from tasks.mixture_plan import plan_mixture

LENGTH = 16
TOKENS = {"web": 5000, "books": 700, "code": 1500}
SHARES = {"web": 0.7, "books": 0.2, "code": 0.1}


def test_shares_and_passes_are_those_of_the_order(tmp_path: Path) -> None:
    sources = []
    for name, tokens in TOKENS.items():
        paths = tmp_path / f"{name}.bin", tmp_path / f"{name}.idx"
        with TokenWriter(*paths, 300) as writer:
            writer.append(np.zeros(tokens, np.int64))
        sources.append(MixtureSource(name, SHARES[name], 10, name, TokenFile(*paths)))
    order = DataOrder(sources, LENGTH, 1)
    summary = {"mixture": SHARES, "sources": {name: {"tokens": tokens} for name, tokens in TOKENS.items()}}
    planned = {one.source: one for one in plan_mixture(summary, 1000, LENGTH)}
    located = [order.locate(number) for number in range(1000)]
    counts = Counter(location.source for location in located)
    for name, one in planned.items():
        assert one.read == counts[name] * LENGTH
        assert one.share == counts[name] / 1000 and one.wanted_share == pytest.approx(SHARES[name])
        assert one.share == pytest.approx(SHARES[name], abs=0.002)
        # The last pass is the one that the number of passes is in.
        assert max(location.epoch for location in located if location.source == name) == -(-one.epochs // 1) - 1


def test_a_source_without_a_whole_sequence_is_left_out() -> None:
    summary = {"mixture": {"a": 0.5, "b": 0.5}, "sources": {"a": {"tokens": 5000}, "b": {"tokens": 3}}}
    assert [one.source for one in plan_mixture(summary, 10, LENGTH)] == ["a"]
    assert plan_mixture({"mixture": {"b": 1.0}, "sources": {"b": {"tokens": 3}}}, 10, LENGTH) == []
