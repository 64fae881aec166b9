"""The resource use of every launch of a run, including failed and killed ones.

    runs/<key>/account/<id>.json  one account per machine of a launch

An account is opened after the run's configuration is read, before anything is loaded or compiled. A thread rewrites it
every few seconds (`model.accounting.usage_reporter`), even while the launch hangs. The account of a killed launch lacks
at most a few seconds, or more if the store was unavailable or a call blocked all threads of the process. Until the
ranks have met, each machine's account counts as its own launch.

Steps that a later launch computes again are lost, and their time is wasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from infra.store.lake import Lake
from infra.store.schema import Component, Count, Seconds, sound_object
from model.accounting.energy import Energy, total

# "starting" lasts until the step to resume from is known. A killed launch stays "starting" or "running".
State = Literal["starting", "running", "finished", "stopped", "failed"]
# Seconds without an update after which a launch counts as killed. A write of `Lake` times out sooner.
SILENT = 300.0


@dataclass(frozen=True, slots=True)
class Account:
    """One machine's part of a launch, which has reached `step`.

    `launch` is the same on all machines; until it is known, it equals `id`. `first_step` is the earliest step after
    which the launch continued, None if it ended before that was known. `taken` counts the steps that it computed,
    including those that it rolled back. `started` and `updated` are POSIX seconds. `rated_watts` is the power of one
    device, None when unknown.
    """

    id: Component
    launch: str
    machine: Count
    state: State
    started: Seconds
    updated: Seconds
    seconds: Seconds
    device: Literal["cpu", "cuda"]
    device_name: str
    devices: Count
    rated_watts: float | None
    first_step: Count | None
    step: Count
    taken: Count
    energy: tuple[Energy, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A launch on all its machines. Of the `taken` steps, `kept` are part of the run and `lost` are not.

    `device_seconds` are seconds times devices. `wasted` is the part of them spent on lost steps, or all of them if the
    launch failed or was killed before its first step.
    """

    launch: str
    state: State | Literal["killed"]
    device: str
    device_name: str
    devices: int
    started: float
    updated: float
    seconds: float
    device_seconds: float
    first_step: int | None
    step: int
    taken: int
    kept: int
    lost: int
    wasted: float
    energy: Energy
    rated_joules: float | None
    notes: tuple[str, ...]


def write_account(lake: Lake, run: str, account: Account) -> None:
    """Write or replace this machine's account of its launch."""
    lake.write_json(f"{_folder(run)}/{account.id}.json", asdict(account))


def read_accounts(lake: Lake, run: str) -> list[Account]:
    """All accounts of a run, sorted by the start of their launch, without damaged ones, which are logged."""
    found = [sound_object(lake, entry.path, Account) for entry in lake.list(_folder(run))]
    accounts = [account for account in found if account is not None]
    return sorted(accounts, key=lambda account: (account.started, account.machine))


def attempts(accounts: Sequence[Account], newest_checkpoint: int, now: float) -> list[Attempt]:
    """The launches in the order of their start, with their kept and lost steps at `now` (POSIX seconds).

    A launch without an orderly end was killed if another has started since, or if its account was not updated for
    `SILENT` seconds. A step is kept if no later launch started before it. If the newest launch has ended, its steps are
    kept only up to the newest checkpoint.
    """
    launches: dict[str, list[Account]] = {}
    for account in sorted(accounts, key=lambda account: account.started):
        launches.setdefault(account.launch, []).append(account)
    found: list[Attempt] = []
    end: int | None = None
    for machines in reversed(list(launches.values())):
        machines.sort(key=lambda account: account.machine)
        over = bool(found) or now - max(machine.updated for machine in machines) > SILENT
        found.append(_attempt(machines, end, over, newest_checkpoint))
        first = machines[0].first_step
        end = min((step for step in (end, first) if step is not None), default=None)
    return found[::-1]


def _attempt(machines: list[Account], end: int | None, over: bool, newest_checkpoint: int) -> Attempt:
    """`end` is the earliest step after which a later launch continued, None for none; `over`: it cannot be running."""
    lead = machines[0]
    unended = lead.state in ("starting", "running")
    killed = unended and over
    if end is None:
        end = lead.step if unended and not over else newest_checkpoint
    kept = max(0, min(lead.step, end) - (lead.first_step or 0))
    # Steps that the launch itself rolled back count in `taken` only.
    kept = min(kept, lead.taken)
    device_seconds = sum(machine.seconds * machine.devices for machine in machines)
    without_steps = 1.0 if killed or lead.state == "failed" else 0.0
    share = (lead.taken - kept) / lead.taken if lead.taken else without_steps
    rated = [
        None if machine.rated_watts is None else machine.rated_watts * machine.devices * machine.seconds
        for machine in machines
    ]
    return Attempt(
        launch=lead.launch,
        state="killed" if killed else lead.state,
        device=lead.device,
        device_name=lead.device_name,
        devices=sum(machine.devices for machine in machines),
        started=min(machine.started for machine in machines),
        updated=max(machine.updated for machine in machines),
        seconds=max(machine.seconds for machine in machines),
        device_seconds=device_seconds,
        first_step=lead.first_step,
        step=lead.step,
        taken=lead.taken,
        kept=kept,
        lost=lead.taken - kept,
        wasted=share * device_seconds,
        energy=total([energy for machine in machines for energy in machine.energy]),
        rated_joules=sum(known)
        if len(known := [joules for joules in rated if joules is not None]) == len(rated)
        else None,
        notes=tuple(dict.fromkeys(note for machine in machines for note in machine.notes)),
    )


def _folder(run: str) -> str:
    return f"runs/{run}/account"
