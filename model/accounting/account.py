"""What every launch of a run used, failed and killed ones included.

    runs/<key>/account/<id>.json  by each machine of a launch

An account is opened once the run's configuration has been read, before anything is loaded or compiled. A thread
rewrites it every few seconds (`model.accounting.usage_reporter`), also in a launch that hangs. Of a killed launch at
most some seconds are missing; more only where the store was away, or a call blocked all threads of the process.
Until its ranks have found one another each machine's account is a launch of its own.

Steps that a later launch computed again are lost, and the time that went into them is waste.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from infra.store.errors import NotThere
from infra.store.lake import Lake
from model.accounting.energy import Energy, total

# "starting", until it has found where to go on, and "running" are also what a killed launch leaves behind.
State = Literal["starting", "running", "finished", "stopped", "failed"]
# Seconds. An account that has not been rewritten for so long is a killed launch's: `Lake` gives up a writing sooner.
SILENT = 300.0


@dataclass(frozen=True, slots=True)
class Account:
    """One machine's part of a launch, which stands at `step`; `first_step` is the earliest that it went on after,
    None for one that ended before it had found where to go on.

    `launch` is the same on all machines, and `id` until they know it. `taken` counts the steps it computed, those it
    then rolled back included. `started` and `updated` are POSIX seconds. `rated_watts` is the power of one device, None
    when unknown.
    """

    id: str
    launch: str
    machine: int
    state: State
    started: float
    updated: float
    seconds: float
    device: Literal["cpu", "cuda"]
    device_name: str
    devices: int
    rated_watts: float | None
    first_step: int | None
    step: int
    taken: int
    energy: tuple[Energy, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A launch on all its machines. `kept` of the `taken` steps are part of the run; `lost` ones came to nothing.

    `device_seconds` are seconds times devices, of which `wasted` came to nothing: the share of its lost steps, or all
    of it when it failed or was killed before its first step.
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
    """Replace what this machine wrote of this launch before."""
    lake.write_json(f"{_folder(run)}/{account.id}.json", asdict(account))


def read_accounts(lake: Lake, run: str) -> list[Account]:
    """All accounts of a run, by the time their launch began."""
    accounts = []
    for entry in lake.list(_folder(run)):
        try:
            values = lake.read_json(entry.path)
        except NotThere:  # replaced since the listing
            continue
        energy = tuple(Energy(**used) for used in values["energy"])
        accounts.append(Account(**values | {"energy": energy, "notes": tuple(values["notes"])}))
    return sorted(accounts, key=lambda account: (account.started, account.machine))


def attempts(accounts: Sequence[Account], newest_checkpoint: int, now: float) -> list[Attempt]:
    """The launches in the order they began, with what became of their steps until `now` (POSIX seconds).

    One that did not end in order was killed when another has begun since, or when it has been silent. A step is kept
    when no later launch began before it, and, of the newest launch once it has ended, when a checkpoint stands on it.
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
    """`end` is the earliest step that a later launch went on after, None when none did; `over`: it cannot be alive."""
    lead = machines[0]
    unended = lead.state in ("starting", "running")
    killed = unended and over
    if end is None:
        end = lead.step if unended and not over else newest_checkpoint
    kept = max(0, min(lead.step, end) - (lead.first_step or 0))
    # The steps that it rolled back itself are in `taken` alone.
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
