"""Fixtures that every room's tests share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from tests.quick import SLOW_FIXTURES, SLOW_PATHS

pytest_plugins = ["tests.conftest_servers", "tests.conftest_swift"]

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``quick`` what `make check` runs."""
    root = Path(__file__).resolve().parents[1]
    slow = [root / path for path in SLOW_PATHS]
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        listed = any(item.path == path or path in item.path.parents for path in slow)
        if not listed and not fixtures & SLOW_FIXTURES and item.get_closest_marker("heavy") is None:
            item.add_marker(pytest.mark.quick)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs that lies beside the project; skips where there is none, fails in CI."""
    if not SHARED_DATA.is_dir():
        reason = "the real inputs (../shared/data) do not lie beside the project"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A new lake in a local folder."""
    return Lake.open(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def pool() -> Iterator[LocalPool]:
    """Two workers, shared by the tests of a session."""
    with LocalPool(2) as pool:
        yield pool


@pytest.fixture
def ports_of_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The machine's ports to oneself: `millrace doctor` tells of every port, also of one that another test opens."""
    with (tmp_path_factory.getbasetemp().parent / "ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
