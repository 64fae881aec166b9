"""Death at every kind of moment: the retry ends in the same digests and computes only what has no marker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.store.digests import sha256_file
from infra.store.lake import Lake
from tests.infra.engine.test_plans import write_inputs

# One of each kind; the others are run by `make test-all`.
OFTEN = ["inside_part:6", "before_part:4", "before_marker:5", "in_reduce:2", "in_fit:2", "before_manifest:4"]
SELDOM = ["inside_part:1", "before_marker:1", "before_marker:9", "before_manifest:1"]
MOMENTS = [*OFTEN, *(pytest.param(moment, marks=pytest.mark.heavy) for moment in SELDOM)]


def run_line(
    lake: Path, inputs: str, workers: int, fault: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.infra.engine.line", str(lake), inputs, str(workers)],
        env={**os.environ, **(fault or {})},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
    )


def marker_files(lake: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (lake / "markers").rglob("*.json")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str], int]:
    """The inputs, the digests of a run that nobody disturbs, and the number of its markers."""
    folder = tmp_path_factory.mktemp("unbroken")
    inputs = write_inputs(folder / "in")[0]
    run = run_line(folder / "lake", inputs, 1)
    assert run.returncode == 0, run.stderr
    return inputs, json.loads(run.stdout), len(marker_files(folder / "lake"))


def test_workers_do_not_change_the_digests(unbroken: tuple[str, dict[str, str], int], tmp_path: Path) -> None:
    inputs, digests, _ = unbroken
    assert json.loads(run_line(tmp_path / "lake", inputs, 2).stdout) == digests


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_build_goes_on_where_it_was(
    moment: str, unbroken: tuple[str, dict[str, str], int], tmp_path: Path
) -> None:
    inputs, digests, markers = unbroken
    fault = {"MILLRACE_FAULT": moment, "MILLRACE_FAULT_FOLDER": str(tmp_path)}
    killed = run_line(tmp_path / "lake", inputs, 2, fault)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    before = marker_files(tmp_path / "lake")
    retry = run_line(tmp_path / "lake", inputs, 2)
    assert retry.returncode == 0, retry.stderr
    assert json.loads(retry.stdout) == digests
    after = marker_files(tmp_path / "lake")
    assert {path: after[path] for path in before} == before, "work that had a marker was done again"
    assert len(after) == markers
    parts = list(Lake(str(tmp_path / "lake")).list("parts"))
    assert all(Path(entry.path).stem == _sha256(tmp_path / "lake" / entry.path) for entry in parts)


@pytest.mark.parametrize("moment", ["before_marker:2", "inside_part:3", "in_reduce:1"])
def test_a_lost_worker_costs_only_its_unit(
    moment: str, unbroken: tuple[str, dict[str, str], int], tmp_path: Path
) -> None:
    inputs, digests, markers = unbroken
    fault = {"MILLRACE_FAULT": moment, "MILLRACE_FAULT_FOLDER": str(tmp_path), "MILLRACE_FAULT_TARGET": "process"}
    run = run_line(tmp_path / "lake", inputs, 2, fault)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == digests
    assert len(marker_files(tmp_path / "lake")) == markers


def _sha256(path: Path) -> str:
    return sha256_file(path)
