"""Writes a machine's account of a launch every few seconds from its own thread.

A process may be killed or hang at any time: while it creates the engine, in a first step that compiles for minutes, in
a collective with a rank that has ended. The thread keeps the account current until then.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from infra.store.errors import StoreError
from infra.store.lake import Lake
from model.accounting.account import Account, write_account
from model.accounting.energy import Energy, Meter
from model.accounting.hardware import meters_of_machine
from model.accounting.rank_info import RankInfo, device_name, gpus_of_machine

INTERVAL = 5.0  # seconds between two writes


def open_usage_reporter(
    lake: Lake,
    run: str,
    rank_info: RankInfo,
    device: Literal["cpu", "cuda"],
    rated_watts: float | None,
    meters: Sequence[Meter] | None,
    interval: float = INTERVAL,
) -> UsageReporter:
    """The reporter of this machine's usage; if `meters` is None, `meters_of_machine` finds them."""
    name, notes = device_name(device), list[str]()
    if meters is None:
        rated = None if rated_watts is None else rated_watts * rank_info.local_ranks
        gpus = gpus_of_machine(rank_info) if device == "cuda" else []
        meters, notes = meters_of_machine(gpus, rated, f"{rank_info.local_ranks} × {name}")
    own, now = uuid.uuid4().hex[:12], time.time()
    account = Account(
        id=own,
        launch=own,
        machine=rank_info.machine,
        state="starting",
        started=now,
        updated=now,
        seconds=0.0,
        device=device,
        device_name=name,
        devices=rank_info.local_ranks,
        rated_watts=rated_watts,
        first_step=None,
        step=0,
        taken=0,
        energy=(),
        notes=tuple(notes),
    )
    return UsageReporter(lake, run, account, meters, interval)


class UsageReporter:
    """Counts time and energy from its creation, and writes them from `start` to `close`.

    An unavailable store raises nothing: every write contains all of the previous one.
    """

    def __init__(
        self, lake: Lake, run: str, account: Account, meters: Sequence[Meter], interval: float = INTERVAL
    ) -> None:
        self._interval = interval
        self._lake, self._run, self._account, self._meters = lake, run, account, tuple(meters)
        self._began = time.monotonic()
        # Two threads read the meters, which keep state between readings.
        self._asking = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="account", daemon=True)

    def start(self) -> None:
        """Write the account now and from then on every `interval` seconds."""
        self._write()
        self._thread.start()

    def update(self, **changes: Any) -> None:
        """Change fields of the account; the next write contains them."""
        self._account = replace(self._account, **changes)

    def energy(self) -> list[Energy]:
        """The current reading of each meter."""
        with self._asking:
            return [meter.read() for meter in self._meters]

    def close(self) -> None:
        """Write the account for the last time."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._write()

    def _carry(self) -> None:
        while not self._over.wait(self._interval):
            self._write()

    def _write(self) -> None:
        energy = tuple(self.energy())
        account = replace(
            self._account,
            updated=time.time(),
            seconds=time.monotonic() - self._began,
            energy=energy,
            notes=(*self._account.notes, *(used.note for used in energy if used.note)),
        )
        try:
            write_account(self._lake, self._run, account)
        except StoreError as error:
            print(f"the account of this launch is not up to date: {error}", file=sys.stderr)
