"""`millrace cost`: all launches of a run, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from flows.cli import terminal
from flows.cli.cost import cost
from infra.store.lake import Lake
from model.accounting.account import Account, write_account
from model.accounting.energy import Energy

RUN = "ab12" + "0" * 60
KILLED = Account(
    id="aaaa",
    launch="aaaa",
    machine=0,
    state="running",
    started=1.0e9,
    updated=1.0e9 + 7200,
    seconds=7200.0,
    device="cuda",
    device_name="NVIDIA H200",
    devices=8,
    rated_watts=700.0,
    first_step=0,
    step=10,
    taken=10,
    energy=(Energy(3.6e7, "measured", "NVML energy counter of NVIDIA H200"),),
    notes=("CPU energy is not measured: only root can read /sys/class/powercap/intel-rapl:0/energy_uj",),
)
RESUMED = Account(
    id="bbbb",
    launch="bbbb",
    machine=0,
    state="finished",
    started=1.0e9 + 8000,
    updated=1.0e9 + 9800,
    seconds=1800.0,
    device="cuda",
    device_name="NVIDIA H200",
    devices=8,
    rated_watts=700.0,
    first_step=6,
    step=20,
    taken=14,
    energy=(Energy(None, "unknown", "no meter and no rated power"),),
    notes=(),
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A run that was killed after ten steps, of which six were saved, and then finished."""
    lake = Lake.open(str(tmp_path / "lake"))
    lake.write_json(f"runs/{RUN}/run.json", {})
    lake.write_json(f"runs/{RUN}/checkpoints/step-000020/manifest.json", {})
    for account in (KILLED, RESUMED):
        write_account(lake, RUN, account)
    return lake


def command(*arguments: str) -> Result:
    application = typer.Typer()
    application.command()(cost)
    return CliRunner().invoke(application, arguments)


def test_as_json(lake: Lake) -> None:
    done = command("ab12", "--lake", lake.uri, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["run"] == RUN
    assert [(one["state"], one["kept"], one["lost"]) for one in found["attempts"]] == [
        ("killed", 6, 4),
        ("finished", 14, 0),
    ]
    assert (found["steps_taken"], found["steps_lost"]) == (24, 4)
    assert found["gpu_hours"] == pytest.approx(8 * 2.5) and found["cpu_hours"] == 0
    assert found["wasted_share"] == pytest.approx(0.4 * 16 / 20)
    # Ten kilowatt-hours by the meters of the first launch; the second has none.
    assert found["metered"] == {
        "kilowatt_hours": pytest.approx(10),
        "tonnes_co2e": pytest.approx(0.01 * 1.1 * 0.385),
        "basis": "measured",
    }
    assert found["unmetered"] == 1
    assert found["rated"]["kilowatt_hours"] == pytest.approx(20 * 0.7) and found["rated"]["basis"] == "estimated"


def test_for_people(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    # The width is taken from the environment when the module is imported, which may be long ago.
    monkeypatch.setattr(terminal.output, "width", 200)
    done = command("ab12", "--lake", lake.uri)
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    for expected in (
        "2001-09-09 01:46:40+00:00 │ killed │ 0 → 10",
        "8 × NVIDIA H200",
        "10 kWh measured",
        "20.00 GPU-hours",
        "32.0% of it was wasted: 4 of 24 steps",
        "1 launches have no meter",
        "14 kWh for the devices (estimated)",
        "only root can read",
    ):
        assert expected in words, expected


def test_a_run_that_is_not_there_is_one_short_message(lake: Lake) -> None:
    done = command("ff", "--lake", lake.uri)
    assert done.exit_code == 1
    assert "0 runs of" in done.output and "Traceback" not in done.output


def test_a_run_that_never_began_has_cost_nothing(lake: Lake) -> None:
    lake.write_json(f"runs/{'c' * 64}/run.json", {})
    found = json.loads(command("cc", "--lake", lake.uri, "--json").stdout.splitlines()[-1])
    assert found["attempts"] == [] and found["metered"]["kilowatt_hours"] is None
