"""Bins: what they hold, and where their edges lie."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.report.histogram import HistogramCounter, edges_between, logarithmic_edges


def test_values_are_counted_by_series_over_several_adds() -> None:
    counter = HistogramCounter(np.array([0.0, 1.0, 2.0, 3.0]), ("low", "high"))
    counter.add("low", np.array([0.0, 0.5, 1.0]))
    counter.add("high", np.array([2.5]))
    counter.add("high", np.array([3.0, 1.5]))
    found = counter.result()
    assert dict(found.series) == {"low": (2, 1, 0), "high": (0, 1, 2)}
    assert found.edges == (0.0, 1.0, 2.0, 3.0) and found.total == 6


def test_values_beyond_the_edges_are_in_the_outermost_bins() -> None:
    counter = HistogramCounter(np.array([1.0, 10.0, 100.0]), ("all",))
    counter.add("all", np.array([-5, 0, 1000]))
    assert dict(counter.result().series) == {"all": (2, 1)}


def test_empty_bins_at_both_ends_are_left_out() -> None:
    counter = HistogramCounter(np.arange(0.0, 11.0), ("all",))
    counter.add("all", np.array([3.2, 5.9]))
    found = counter.result()
    assert found.edges == (3.0, 4.0, 5.0, 6.0)
    assert dict(found.series) == {"all": (1, 0, 1)}


def test_nothing_counted_is_one_empty_bin() -> None:
    found = HistogramCounter(np.array([0.0, 1.0, 2.0]), ("all",)).result()
    assert (found.edges, found.series, found.total) == ((0.0, 1.0), (("all", (0,)),), 0)


def test_logarithmic_edges_cover_the_range_and_hit_the_decades() -> None:
    edges = logarithmic_edges(3.0, 250.0, 4)
    assert edges[0] <= 3.0 and edges[-1] >= 250.0
    assert edges[1:] / edges[:-1] == pytest.approx(10**0.25)
    assert any(np.isclose(edges, 10)) and any(np.isclose(edges, 100))
    assert logarithmic_edges(1.0, 1e7, 16)[[0, -1]] == pytest.approx([1.0, 1e7])


@pytest.mark.parametrize(
    ("least", "most", "logarithmic"),
    [
        (0.0, 0.3, False),
        (0.0, 1.0, False),
        (0.0, 90_000.0, True),
        (-3.0, 200.0, False),
        (7.0, 7.0, False),
        (60, 60, True),
    ],
)
def test_edges_hold_every_value(least: float, most: float, logarithmic: bool) -> None:
    edges, found = edges_between(least, most)
    assert found is logarithmic
    assert np.all(np.diff(edges) > 0)
    assert edges[0] <= max(least, 1.0 if logarithmic else least) and edges[-1] >= most
    assert len(edges) <= 100
