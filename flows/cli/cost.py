"""`millrace cost`: the time, energy and carbon of all launches of a run."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import friendly_errors, output, print_json, print_table

if TYPE_CHECKING:
    from model.accounting.summary import Consumption, RunCost


def cost(
    run: Annotated[str, typer.Argument(help="Key of a run, or its first characters.")],
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Show the time, energy and carbon of all launches of a run, including failed ones."""
    with friendly_errors(as_json):
        from model.accounting.summary import run_cost
        from tasks.runs import find_run

        opened = open_lake(lake)
        key = find_run(opened, run)
        found = run_cost(opened, key)
        if as_json:
            print_json({"run": key, **asdict(found)})
            return
        _show(key, found)


def _show(run: str, cost: RunCost) -> None:
    rows = []
    for one in cost.attempts:
        began = datetime.datetime.fromtimestamp(one.started, datetime.UTC).isoformat(" ", "seconds")
        joules = "unknown" if one.energy.joules is None else f"{one.energy.joules / 3.6e6:.4g} kWh {one.energy.basis}"
        rows.append(
            [
                began,
                one.state,
                "none" if one.first_step is None else f"{one.first_step:,} → {one.step:,}",
                one.kept,
                one.lost,
                str(datetime.timedelta(seconds=round(one.seconds))),
                f"{one.devices} × {one.device_name}",
                joules,
            ]
        )
    columns = ["started (UTC)", "ended", "steps", "kept", "lost", "time", "devices", "energy"]
    print_table(f"Launches of run {run[:12]}", columns, rows)
    output.print(f"{cost.gpu_hours:,.2f} GPU-hours, {cost.cpu_hours:,.2f} CPU-hours (per rank)")
    output.print(f"{cost.wasted_share:.1%} of it was wasted: {cost.steps_lost:,} of {cost.steps_taken:,} steps lost")
    unmetered = f"; {cost.unmetered} launches have no meter" if cost.unmetered else ""
    output.print(f"metered: {_consumption(cost.metered)}{unmetered}")
    output.print(f"by LLaMA's formula, GPU-hours × rated power: {_consumption(cost.rated)}")
    for note in cost.notes:
        output.print(f"note: {note}")


def _consumption(found: Consumption) -> str:
    if found.kilowatt_hours is None:
        return "unknown"
    return (
        f"{found.kilowatt_hours:,.4g} kWh for the devices ({found.basis}), "
        f"{found.tonnes_co2e:,.4g} t CO2e including the data centre (PUE 1.1, 0.385 kg/kWh)"
    )
