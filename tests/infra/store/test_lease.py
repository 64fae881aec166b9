"""A lease is held by one, released by whatever ends its process, and absent where the store has no locks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from infra.store import lease as lease_module
from infra.store.lake import Lake
from infra.store.lease import lease
from tests.holding import holding

HOLDER = """
import sys
from infra.store.lake import Lake
from infra.store.lease import lease
with lease(Lake(sys.argv[1]), "work", lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_holder_has_released_it(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.01)
    with holding(HOLDER, lake.uri) as (holder, line):
        assert line == "held"
        waited: list[bool] = []

        def wait_then_kill() -> None:
            waited.append(True)
            holder.kill()

        with lease(lake, "work", wait_then_kill):
            assert waited == [True]
    assert [*Path(lake.uri, "leases").iterdir()] == []


def test_one_at_a_time(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.001)
    inside, most = 0, 0
    count = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with lease(lake, "work", lambda: None):
                with count:
                    inside += 1
                    most = max(most, inside)
                with count:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_other_names_do_not_wait(lake: Lake) -> None:
    with lease(lake, "one", lambda: pytest.fail("waited")), lease(lake, "two", lambda: pytest.fail("waited")):
        pass


def test_a_store_without_locks_has_no_leases() -> None:
    with lease(Lake("s3://bucket/lake"), "work", lambda: pytest.fail("waited")):
        pass
