"""What every launch of a run used, failed and killed ones included.

    runs/<key>/account/<launch>.json            by the first machine of a launch
    runs/<key>/account/<launch>-machine-1.json  by each further one

Each is rewritten every few seconds, so what a killed launch used stands to within seconds. Steps that a later launch
computed again are lost, and the time that went into them is waste.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from infra.store.errors import NotThere
from infra.store.lake import Lake
from model.accounting.energy import Energy, total

# "running" is also what a killed launch leaves behind.
State = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Account:
    """One machine's part of a launch, which stands at `step`; `first_step` is the earliest that it went on after,
    None for one that ended before it had found where to go on.

    `taken` counts the steps it computed, those it then rolled back included. `started` and `updated` are POSIX
    seconds. `rated_watts` is the power of one device, None when unknown.
    """

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
    of it when it failed before its first step.
    """

    launch: str
    state: Literal["running", "finished", "stopped", "failed", "killed"]
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
    """Replace what this launch wrote before."""
    suffix = f"-machine-{account.machine}" if account.machine else ""
    lake.write_json(f"{_folder(run)}/{account.launch}{suffix}.json", asdict(account))


def read_accounts(lake: Lake, run: str) -> list[Account]:
    """All accounts of a run, by the time their launch began."""
    accounts = []
    for entry in lake.list(_folder(run)):
        try:
            values = lake.read_json(entry.path)
        except NotThere:  # replaced since the listing
            continue
        energy = tuple(Energy(**one) for one in values["energy"])
        accounts.append(Account(**values | {"energy": energy, "notes": tuple(values["notes"])}))
    return sorted(accounts, key=lambda account: (account.started, account.machine))


def attempts(accounts: Sequence[Account], newest_checkpoint: int) -> list[Attempt]:
    """The launches in the order they began, with what became of their steps.

    A step is kept when no later launch began before it, and, of the newest launch once it has ended, when a
    checkpoint stands on it.
    """
    launches: dict[str, list[Account]] = {}
    for account in sorted(accounts, key=lambda account: (account.started, account.machine)):
        launches.setdefault(account.launch, []).append(account)
    found: list[Attempt] = []
    end: int | None = None
    for machines in reversed(list(launches.values())):
        found.append(_attempt(machines, end, bool(found), newest_checkpoint))
        first = machines[0].first_step
        end = min((step for step in (end, first) if step is not None), default=None)
    return found[::-1]


def _attempt(machines: list[Account], end: int | None, followed: bool, newest_checkpoint: int) -> Attempt:
    """`end` is the earliest step that a later launch went on after, None when none did; `followed` if one began."""
    lead = machines[0]
    killed = lead.state == "running" and followed
    if end is None:
        end = lead.step if lead.state == "running" and not followed else newest_checkpoint
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
        started=lead.started,
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
        rated_joules=sum(known) if len(known := [one for one in rated if one is not None]) == len(rated) else None,
        notes=tuple(dict.fromkeys(note for machine in machines for note in machine.notes)),
    )


def _folder(run: str) -> str:
    return f"runs/{run}/account"
