"""Axes: places and ticks."""

from __future__ import annotations

import pytest

from tasks.report.scales import Scale, round_up, tick_label


def test_places_are_linear_or_logarithmic() -> None:
    assert Scale(0, 10, 100, 200).place(2.5) == pytest.approx(125)
    assert Scale(1, 100, 100, 200, logarithmic=True).place(10) == pytest.approx(150)
    upwards = Scale(0, 10, 200, 100)
    assert upwards.place(10) == pytest.approx(100)
    assert (upwards.place(-5), upwards.place(50)) == (200, 100)


def test_linear_ticks_are_round_and_inside() -> None:
    assert Scale(0, 1000, 0, 1).ticks(4) == [0, 250, 500, 750, 1000]
    assert Scale(3.7, 9.9, 0, 1).ticks(4) == [4, 6, 8]
    assert Scale(5, 5, 0, 1).ticks(4) == [5]


@pytest.mark.parametrize("least, most", [(1, 100_000), (60, 90), (1.5, 3.2), (900, 40_000), (0.002, 0.9)])
def test_logarithmic_ticks_are_inside_and_neither_none_nor_many(least: float, most: float) -> None:
    ticks = Scale(least, most, 0, 1, logarithmic=True).ticks(4)
    assert 1 <= len(ticks) <= 7
    assert all(least * 0.999 <= tick <= most * 1.001 for tick in ticks)


@pytest.mark.parametrize("value, top", [(0, 1), (1, 1), (1.1, 2), (21, 25), (26, 50), (646, 1000), (0.03, 0.05)])
def test_round_up(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)


@pytest.mark.parametrize(
    "value, label",
    [(0, "0"), (0.25, "0.25"), (750, "750"), (1200, "1.2k"), (100_000, "100k"), (2.5e6, "2.5M"), (1e-4, "1e-4")],
)
def test_tick_labels(value: float, label: str) -> None:
    assert tick_label(value) == label
