"""The driver's work for a build does not grow faster than its shards: requests, and bytes of keys and manifests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.store import digests, ledger
from infra.store.lake import Lake
from infra.store.ledger import Account, total
from tests.bench.driver import Driver, MadeUp

REQUESTS = ("read", "write", "entry", "upload", "download", "list")


class Counted:
    """Counts the requests to the lake, and the bytes of canonical JSON that were made or read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: Counter[str] = Counter()
        self.bytes = 0
        for name in REQUESTS:
            self._count(monkeypatch, name)
        make = digests.canonical

        def canonical(value: Any) -> bytes:
            data = make(value)
            self.bytes += len(data)
            return data

        monkeypatch.setattr(digests, "canonical", canonical)
        monkeypatch.setattr("infra.store.lake.canonical", canonical)

    def _count(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        act = getattr(Lake, name)

        def counted(lake: Lake, *arguments: Any) -> Any:
            self.requests[name] += 1
            result = act(lake, *arguments)
            self.bytes += len(result) if name == "read" else 0
            return result

        monkeypatch.setattr(Lake, name, counted)


def counts(folder: Path, shards: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Counter[str], int]]:
    """For each of three builds of so many shards: the requests, and the bytes."""
    inputs = folder / "in"
    inputs.mkdir(parents=True)
    for number in range(shards):
        (inputs / f"{number:04}.txt").write_text(f"{number}\n")
    lake = Lake.open(str(folder / "lake"))
    found = {}
    for build in ("first", "unchanged", "one more file"):
        if build == "one more file":
            (inputs / "more.txt").write_text("more\n")
        made_up = MadeUp()
        with monkeypatch.context() as patch:
            counted = Counted(patch)
            Driver(lake, made_up, made_up).line(inputs)
        found[build] = counted.requests, counted.bytes
    return found


def test_a_build_of_more_shards_makes_no_more_requests_and_linear_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (counts(tmp_path / str(shards), shards, monkeypatch) for shards in (20, 200))
    for build, (requests, size) in many.items():
        assert requests == few[build][0], f"{build}: requests by the driver for 20 shards and for 200"
        assert size < 11 * few[build][1], f"{build}: bytes of keys and manifests for 20 shards and for 200"
    # One object of the inventory and one manifest for each of five artifacts; nothing is written.
    assert many["unchanged"][0]["read"] == 6 and many["unchanged"][0]["write"] == 0


def test_accounts_are_added_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [
        Account(rows_in=2, kept=1, failed={"broken": 1}, examples={"x": str(number)}, failures=[{"at": number}] * 9)
        for number in range(300)
    ]
    made: list[int] = []

    class Counting(Account):
        def __init__(self, *values: Any, **named: Any) -> None:
            made.append(1)
            super().__init__(*values, **named)

    monkeypatch.setattr(ledger, "Account", Counting)
    whole = total(accounts)
    assert len(made) == 1
    assert (whole.rows_in, whole.kept, whole.failed, whole.examples) == (600, 300, {"broken": 300}, {"x": "0"})
    assert len(whole.failures) == ledger.FAILURES_KEPT and whole.failures[-1] == {"at": (ledger.FAILURES_KEPT - 1) // 9}
