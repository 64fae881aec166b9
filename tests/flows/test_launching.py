"""`millrace launch`: what each machine is told, and the manifest."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import launching
from infra.store.lake import Lake
from model.launch import Machines, launch_command
from model.layout import Layout

KEY = "1a2b3c4d5e6f7a8b9c"


@pytest.fixture
def with_run(lake: Lake) -> Lake:
    lake.write_json(f"runs/{KEY}/run.json", {})
    return lake


@pytest.fixture
def on_s3(with_run: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The lake, as if it lay in a bucket."""
    monkeypatch.setattr(launching, "open_lake", lambda uri: with_run)
    return with_run


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(launching.launch_commands, arguments)


def test_a_machine_becomes_its_part_of_the_run(with_run: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.extend(arguments))
    arguments = ["machine", KEY[:6], "--lake", with_run.uri, "--machines", "2", "--rank", "1"]
    arguments += ["--endpoint", "ten:29400", "--layout", "data=4", "--layout", "zero=1", "--layout", "device=cuda"]
    result = invoke(*arguments, "--cache", str(tmp_path), "--grace", "77")
    assert result.exit_code == 0, result.output
    program, command, environment = became
    layout = Layout("deepspeed", data=4, zero=1, device="cuda")
    assert command == launch_command(with_run.uri, KEY, layout, tmp_path, Machines(2, 1, "ten:29400"), 77)
    assert program == command[0]
    assert environment["DS_ACCELERATOR"] == "cuda"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--machines", "2"], "endpoint is ''"),
        (["--machines", "2", "--rank", "2", "--endpoint", "a:1"], "rank is 2"),
        (["--layout", "data=x"], "data is 'x'"),
        (["--layout", "ranks=2"], "no field 'ranks'"),
        (["--machines", "2", "--endpoint", "a:1", "--layout", "data=3"], "3 ranks cannot be shared"),
    ],
)
def test_wrong_machines_are_told(with_run: Lake, arguments: list[str], message: str) -> None:
    result = invoke("machine", KEY, "--lake", with_run.uri, *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


def test_a_manifest_is_written(on_s3: Lake, tmp_path: Path) -> None:
    pytest.importorskip("kubernetes_validate", reason="the extra `kubernetes` is not installed")
    out = tmp_path / "job.yaml"
    arguments = ["kubernetes", KEY[:5], "--image", "registry.example/millrace:0.1.0", "--machines", "2"]
    arguments += ["--gpus-per-machine", "8", "--lake", "s3://bucket/lake", "--layout", "tensor=2", "--layout", "zero=1"]
    result = invoke(*arguments, "--secret", "lake-credentials", "--env", "A=b", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["run"], told["endpoint"]) == (KEY, f"millrace-{KEY[:12]}-0.millrace-{KEY[:12]}:29400")
    _, job = yaml.safe_load_all(out.read_text(encoding="utf-8"))
    container = job["spec"]["template"]["spec"]["containers"][0]
    command = container["command"]
    assert command[:4] == ["millrace", "launch", "machine", KEY]
    assert command[command.index("--rank") + 1] == "$(JOB_COMPLETION_INDEX)"
    settings = [value for option, value in pairwise(command) if option == "--layout"]
    layout = launching._layout(settings, {})
    assert layout == Layout("deepspeed", data=8, tensor=2, zero=1, device="cuda")
    assert container["livenessProbe"]["exec"]["command"][-1] == "300"


def test_what_a_pod_is_told_can_be_carried_out(on_s3: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest's command, with the number of its machine put in, goes through the command line itself."""
    pytest.importorskip("kubernetes_validate", reason="the extra `kubernetes` is not installed")
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.extend(arguments))
    arguments = ["kubernetes", KEY, "--image", "millrace:1", "--machines", "2", "--gpus-per-machine", "4"]
    shown = invoke(*arguments, "--lake", "s3://bucket/lake")
    _, job = yaml.safe_load_all(shown.stdout)
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    result = invoke(*(word.replace("$(JOB_COMPLETION_INDEX)", "1") for word in command[2:]))
    assert result.exit_code == 0, result.output
    layout = Layout("deepspeed", data=8, device="cuda")
    machines = Machines(2, 1, f"millrace-{KEY[:12]}-0.millrace-{KEY[:12]}:29400")
    assert became[1] == launch_command(on_s3.uri, KEY, layout, Path("/cache"), machines, 120)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lake", "here"], "cannot reach a folder of this machine"),
        (["--layout", "data=4"], "4 ranks, and 2 machines have 16 GPUs"),
        (["--layout", "data=3"], "3 ranks cannot be shared evenly among 2 machines"),
        (["--image", "millrace"], "one fixed version"),
        (["--env", "AWS_SECRET_ACCESS_KEY=x"], "looks like a secret"),
        (["--env", "A"], "write NAME=VALUE"),
        (["--name", "Big_Run"], "no name for Kubernetes"),
    ],
)
def test_wrong_manifests_are_refused(on_s3: Lake, arguments: list[str], message: str) -> None:
    given = ["kubernetes", KEY, "--image", "millrace:1", "--machines", "2", "--lake", "s3://bucket/lake"]
    result = invoke(*given, *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
