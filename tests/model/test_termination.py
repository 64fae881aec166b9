"""SIGTERM to an agent: every rank gets the time to save, and the exit code tells that it did."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.launcher import carriers, launch
from model.launch import launch_command
from model.termination import LEFT_AFTER_SAVING, Termination
from tests.model.test_launch import ENVIRONMENT, LAYOUT, ROOT, commands_for_two_machines, wait_for, with_program


@contextmanager
def agent(run: str, folder: Path, grace: int) -> Iterator[subprocess.Popen[bytes]]:
    """An agent with two ranks, both at work."""
    command = with_program(launch_command("lake", run, LAYOUT, folder, grace=grace))
    with open(folder / "output", "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=output, stderr=output)
    try:
        wait_for(folder / "ready-0", folder / "ready-1")
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_signal_is_a_request() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Termination() as termination:
        assert not termination.requested
        signal.raise_signal(signal.SIGTERM)
        assert termination.requested and termination.signal == "SIGTERM"
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    with Termination() as termination:
        signal.raise_signal(signal.SIGINT)
        assert termination.signal == "SIGINT"


def test_ranks_that_do_not_leave_are_killed_after_the_grace(tmp_path: Path) -> None:
    with agent("stubborn", tmp_path, grace=1) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
        assert "have not left within 1 s: they are killed" in (tmp_path / "output").read_text()


@pytest.mark.heavy
def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with agent("stubborn", tmp_path, grace=600) as process:
        process.send_signal(signal.SIGTERM)
        wait_for(tmp_path / "told-0", tmp_path / "told-1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
        assert "are to leave at once" in (tmp_path / "output").read_text()


@pytest.mark.heavy
def test_an_agent_that_waits_for_others_leaves_at_once(tmp_path: Path) -> None:
    """Of two machines, only the host has come: nothing runs yet, so there is nothing to wait for."""
    command = commands_for_two_machines("train", tmp_path)[0]
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while not _caught(process.pid) & 1 << (signal.SIGTERM - 1):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == LEFT_AFTER_SAVING


def _caught(pid: int) -> int:
    """The signals that a process has handlers for, a bit for each (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)


def test_cancelling_a_launch_has_every_rank_save_and_leave(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    ready: list[str] = []
    markers: list[str] = []

    def on_line(line: str) -> None:
        ready.extend([line] if line.endswith("ready") else [])
        if len(ready) == 2:
            pid = int((tmp_path / "ready-0").read_text())
            variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
            markers.extend(v.partition("=")[2] for v in variables if v.startswith("MILLRACE_LAUNCH="))
            raise KeyboardInterrupt

    command = with_program(launch_command("lake", "train", LAYOUT, tmp_path, grace=20))
    with pytest.raises(KeyboardInterrupt):
        launch(command, environment=ENVIRONMENT, folder=ROOT, on_line=on_line, grace=20)
    assert carriers(markers[0]) == []
    assert {path.name for path in tmp_path.glob("found-*.json")} == {"found-0.json", "found-1.json"}
