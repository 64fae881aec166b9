"""The fixture ``swift``: one S3 store for all the tests of a run."""

import os
from collections.abc import Iterator

import pytest

from tests.swift import PACKAGES, SwiftStore, missing_commands


@pytest.fixture(scope="session")
def swift() -> Iterator[SwiftStore]:
    """A running Swift, started by the first test which asks for it.

    Skips where Swift is not installed, and fails there under ``CI``, where it must be.
    """
    missing = missing_commands()
    if missing:
        reason = f"no S3 store to test with: {', '.join(missing)} not found; apt-get install {' '.join(PACKAGES)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with SwiftStore() as store:
        yield store
