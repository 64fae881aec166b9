"""`millrace launch`: what each machine is told, and the manifest."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import launching
from infra.store.errors import StoreDenied, StoreUnavailable
from infra.store.lake import Lake
from model.layout import Layout, layout_from
from model.supervision.launch import Machines, launch_command
from model.supervision.termination import PERMANENT_ERROR
from tests.model.support.small import small_run


@pytest.fixture
def run(lake: Lake, tmp_path: Path) -> str:
    """A run in bf16 of 4 heads in 2 layers and 16 sequences a step."""
    return small_run(lake, tmp_path / "text", batch=16, precision="bf16").key


@pytest.fixture
def on_s3(lake: Lake, run: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The lake, as if it lay in a bucket."""
    monkeypatch.setattr(launching, "open_lake", lambda uri: lake)
    return lake


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the process became: program, command and environment."""
    found: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: found.extend(arguments))
    return found


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(launching.launch_commands, arguments)


def layout_of(became: list[Any]) -> Layout:
    command = became[1]
    return layout_from(json.loads(command[command.index("--layout") + 1]))


def test_a_machine_becomes_its_part_of_the_run(lake: Lake, run: str, became: list[Any], tmp_path: Path) -> None:
    arguments = ["machine", run[:6], "--lake", lake.uri, "--machines", "2", "--rank", "1"]
    arguments += ["--endpoint", "ten:29400", "--layout", "data=4,zero=2", "--layout", "device=cuda"]
    result = invoke(*arguments, "--cache", str(tmp_path), "--grace", "77")
    assert result.exit_code == 0, result.output
    program, command, environment = became
    layout = Layout("deepspeed", data=4, zero=2, device="cuda")
    assert command == launch_command(lake.uri, run, layout, tmp_path, Machines(2, 1, "ten:29400"), 77)
    assert program == command[0]
    assert environment["DS_ACCELERATOR"] == "cuda"


@pytest.mark.parametrize(
    ("arguments", "layout"),
    [
        ([], Layout("native")),
        (["--layout", "engine=deepspeed"], Layout("deepspeed", zero=1)),
        (["--layout", "tensor=2,pipeline=2,micro_batch=4"], Layout("deepspeed", 1, 2, 2, zero=1, micro_batch=4)),
        (["--machines", "4", "--endpoint", "a:1"], Layout("deepspeed", data=4, zero=1)),
    ],
)
def test_what_a_machine_is_not_told(
    lake: Lake, run: str, became: list[Any], arguments: list[str], layout: Layout
) -> None:
    result = invoke("machine", run, "--lake", lake.uri, *arguments)
    assert result.exit_code == 0, result.output
    assert layout_of(became) == layout


# Of the run, whatever the machines are.
MISFITS = [
    (["--layout", "data=2,zero=0"], "gradients in bf16; set zero to 1 or more"),
    (["--layout", "data=1,tensor=8"], "8 equal parts|divide the model's 4 heads"),
    (["--layout", "data=32"], "a batch of 16 sequences is not a multiple of micro_batch 1 times 32"),
    (["--layout", "data=1,pipeline=3"], "2 blocks cannot fill a pipeline of 3 stages"),
    (["--layout", "data=2,micro_batch=3"], "not a multiple of micro_batch 3"),
    (["--layout", "engine=native,data=2"], "the native engine is one process"),
    (["--layout", "data=x"], "data is 'x'"),
    (["--layout", "ranks=2"], "no field 'ranks'"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *MISFITS,
        (["--machines", "2"], "endpoint is ''"),
        (["--rank", "1"], "rank is 1 and count is 1"),
        (["--machines", "2", "--rank", "2", "--endpoint", "a:1"], "rank is 2"),
        (["--machines", "3", "--endpoint", "a:1", "--layout", "data=4"], "4 ranks cannot be shared"),
        (["--machines", "2", "--endpoint", "a:1", "--layout", "engine=native"], "the native engine is one process"),
    ],
)
def test_wrong_machines_are_told(lake: Lake, run: str, became: list[Any], arguments: list[str], message: str) -> None:
    result = invoke("machine", run, "--lake", lake.uri, *arguments)
    assert result.exit_code == PERMANENT_ERROR
    assert re.search(message, " ".join(result.stderr.split()))
    assert not became


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailable("come back"), 1), (StoreDenied("who are you"), PERMANENT_ERROR)]
)
def test_a_machine_that_cannot_reach_its_lake_is_started_again(
    lake: Lake, run: str, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def open_lake(uri: str) -> Lake:
        raise error

    monkeypatch.setattr(launching, "open_lake", open_lake)
    result = invoke("machine", run, "--lake", lake.uri)
    assert (result.exit_code, result.stderr) == (status, f"{error}\n")


def test_a_manifest_is_written(on_s3: Lake, run: str, tmp_path: Path) -> None:
    pytest.importorskip("kubernetes_validate", reason="the extra `kubernetes` is not installed")
    out = tmp_path / "job.yaml"
    arguments = ["kubernetes", run[:5], "--image", "registry.example/millrace:0.1.0", "--machines", "2"]
    arguments += ["--gpus-per-machine", "8", "--lake", "s3://bucket/lake", "--layout", "tensor=2,micro_batch=2"]
    result = invoke(*arguments, "--secret", "lake-credentials", "--env", "A=b", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["run"], told["endpoint"]) == (run, f"millrace-{run[:12]}-0.millrace-{run[:12]}:29400")
    _, job = yaml.safe_load_all(out.read_text(encoding="utf-8"))
    container = job["spec"]["template"]["spec"]["containers"][0]
    command = container["command"]
    assert command[:4] == ["millrace", "launch", "machine", run]
    assert command[command.index("--rank") + 1] == "$(JOB_COMPLETION_INDEX)"
    assert container["livenessProbe"]["exec"]["command"][-1] == "300"


@pytest.mark.parametrize(
    ("machines", "arguments", "layout"),
    [
        (2, ["--gpus-per-machine", "4"], Layout("deepspeed", data=8, zero=1, device="cuda")),
        (1, ["--gpus-per-machine", "2"], Layout("deepspeed", data=2, zero=1, device="cuda")),
        (1, ["--gpus-per-machine", "1"], Layout("native", device="cuda")),
        (1, ["--gpus-per-machine", "0", "--layout", "engine=native"], Layout("native")),
        (2, ["--gpus-per-machine", "0", "--layout", "data=8,device=cpu"], Layout("deepspeed", data=8, zero=1)),
        (
            *(2, ["--layout", "tensor=2,sequence_parallel=true,zero=3"]),
            Layout("deepspeed", data=8, tensor=2, zero=3, sequence_parallel=True, device="cuda"),
        ),
    ],
)
def test_what_a_pod_is_told_can_be_carried_out(
    on_s3: Lake, run: str, became: list[Any], machines: int, arguments: list[str], layout: Layout
) -> None:
    """The manifest's command, with the number of its machine put in, goes through the command line itself."""
    pytest.importorskip("kubernetes_validate", reason="the extra `kubernetes` is not installed")
    given = ["kubernetes", run, "--image", "millrace:1", "--machines", str(machines), "--lake", "s3://bucket/lake"]
    shown = invoke(*given, *arguments)
    assert shown.exit_code == 0, shown.output
    _, job = yaml.safe_load_all(shown.stdout)
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    rank = machines - 1
    result = invoke(*(word.replace("$(JOB_COMPLETION_INDEX)", str(rank)) for word in command[2:]))
    assert result.exit_code == 0, result.output
    place = Machines(machines, rank, f"millrace-{run[:12]}-0.millrace-{run[:12]}:29400")
    assert became[1] == launch_command(on_s3.uri, run, layout, Path("/cache"), place, 120)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *MISFITS,
        (["--layout", "device=cpu"], "device=cpu contradicts --gpus-per-machine 8"),
        (["--gpus-per-machine", "0", "--layout", "device=cuda"], "device=cuda contradicts --gpus-per-machine 0"),
        (["--layout", "engine=native"], "the native engine is one process"),
        (["--lake", "here"], "cannot reach a folder on this machine"),
        (["--layout", "data=4"], "4 ranks, but 2 machines have 16 GPUs"),
        (["--machines", "3", "--layout", "data=4"], "4 ranks cannot be shared evenly among 3 machines"),
        (["--image", "millrace"], "one fixed version"),
        (["--env", "AWS_SECRET_ACCESS_KEY=x"], "looks like a secret"),
        (["--env", "A"], "write NAME=VALUE"),
        (["--name", "7b-run"], "--name 7b-run: not a Kubernetes name"),
        (["--env", "A B=1"], "--env A B: not a Kubernetes name"),
        (["--memory", "128GB"], "--memory 128GB: not a Kubernetes quantity"),
        (["--shared-memory", "129Gi"], "--shared-memory 129Gi: it is part of --memory, which is 128Gi"),
    ],
)
def test_wrong_manifests_are_refused(on_s3: Lake, run: str, arguments: list[str], message: str) -> None:
    given = ["kubernetes", run, "--image", "millrace:1", "--machines", "2", "--lake", "s3://bucket/lake"]
    result = invoke(*given, *arguments)
    assert result.exit_code == 1
    assert re.search(message, " ".join(result.stderr.split()))
