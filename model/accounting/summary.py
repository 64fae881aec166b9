"""The cost of a run over all its launches: time, energy, carbon, and the wasted share."""

from __future__ import annotations

import time
from dataclasses import dataclass

from infra.store.lake import Lake
from model.accounting.account import Attempt, attempts, read_accounts
from model.accounting.energy import Energy, total
from model.checkpoints.manifest import committed_steps
from model.cost.carbon import POWER_USAGE_EFFECTIVENESS, tonnes_co2e

JOULES_OF_KILOWATT_HOUR = 3.6e6


@dataclass(frozen=True, slots=True)
class Consumption:
    """Kilowatt-hours of the devices alone, and tonnes of CO2 equivalent of the data centre; None when unknown."""

    kilowatt_hours: float | None
    tonnes_co2e: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class RunCost:
    """`gpu_hours` and `cpu_hours` are device-hours (a CPU run counts ranks); `wasted_share` of them was wasted.

    `metered` sums the attempts whose energy is known; `unmetered` counts the others. `rated` is LLaMA's formula:
    GPU-hours times rated power.
    """

    attempts: tuple[Attempt, ...]
    steps_taken: int
    steps_lost: int
    seconds: float
    gpu_hours: float
    cpu_hours: float
    wasted_share: float
    metered: Consumption
    unmetered: int
    rated: Consumption
    notes: tuple[str, ...]


def run_cost(lake: Lake, run: str) -> RunCost:
    """The cost of a run so far; all values are zero or unknown before its first launch."""
    made = attempts(read_accounts(lake, run), max(committed_steps(lake, run), default=0), time.time())
    hours = {
        device: sum(attempt.device_seconds for attempt in made if attempt.device == device) / 3600
        for device in ("cuda", "cpu")
    }
    whole = sum(attempt.device_seconds for attempt in made)
    known = [attempt.energy for attempt in made if attempt.energy.joules is not None]
    on_gpus = [attempt for attempt in made if attempt.device == "cuda"]
    rated = [
        Energy(attempt.rated_joules, "estimated", f"LLaMA's formula, {attempt.device_name}") for attempt in on_gpus
    ]
    return RunCost(
        attempts=tuple(made),
        steps_taken=sum(attempt.taken for attempt in made),
        steps_lost=sum(attempt.lost for attempt in made),
        seconds=sum(attempt.seconds for attempt in made),
        gpu_hours=hours["cuda"],
        cpu_hours=hours["cpu"],
        wasted_share=sum(attempt.wasted for attempt in made) / whole if whole else 0.0,
        metered=consumption(total(known)),
        unmetered=len(made) - len(known),
        rated=consumption(total(rated)),
        notes=tuple(dict.fromkeys(note for attempt in made for note in attempt.notes)),
    )


def consumption(energy: Energy) -> Consumption:
    """Device energy in kilowatt-hours, and the data centre's carbon by the LLaMA paper's two factors."""
    if energy.joules is None:
        return Consumption(None, None, "unknown")
    hours = energy.joules / JOULES_OF_KILOWATT_HOUR
    return Consumption(hours, tonnes_co2e(hours / 1000 * POWER_USAGE_EFFECTIVENESS), energy.basis)
