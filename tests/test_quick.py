"""The list of what `make check` leaves out holds files and folders that exist, and its marks are set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quick import SLOW_PATHS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("path", SLOW_PATHS)
def test_a_listed_path_exists(path: str) -> None:
    assert (ROOT / path).exists(), f"{path} is gone: take it out of tests/quick.py, or put its new place there"


def test_an_unlisted_test_is_quick(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("quick") is not None


@pytest.mark.heavy
def test_a_heavy_test_is_not_quick(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("quick") is None
