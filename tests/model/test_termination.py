"""SIGTERM to an agent: every rank gets the time to save, and the exit code tells how it ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.launcher import carriers, launch
from infra.store.lake import Lake
from model.layout import Layout
from model.supervision.launch import launch_command
from model.supervision.logbook import read_logbook
from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT_ERROR, Termination
from tests.model.support.launches import launch as launch_and_wait
from tests.model.support.small import small_run
from tests.model.test_launch import ENVIRONMENT, LAYOUT, ROOT, commands_for_two_machines, wait_for, with_program

NATIVE = Layout()


def start(run: str, folder: Path, layout: Layout, grace: int = 20) -> subprocess.Popen[bytes]:
    """An agent with the ranks of a layout, in a session of its own as a terminal would give it."""
    command = with_program(launch_command("lake", run, layout, folder, grace=grace))
    with open(folder / "output", "wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=output, stderr=output, start_new_session=True
        )


@contextmanager
def agent(run: str, folder: Path, layout: Layout, grace: int) -> Iterator[subprocess.Popen[bytes]]:
    """An agent whose ranks are at work."""
    process = start(run, folder, layout, grace)
    try:
        wait_for(*(folder / f"ready-{rank}" for rank in range(layout.ranks)))
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


@pytest.mark.parametrize(("layout", "status"), [(NATIVE, 128 + signal.SIGKILL), (LAYOUT, 1)], ids=["one", "two"])
def test_ranks_that_do_not_leave_are_killed_after_the_grace(tmp_path: Path, layout: Layout, status: int) -> None:
    with agent("stubborn", tmp_path, layout, grace=1) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == status
        assert "did not exit within 1 s and are killed" in (tmp_path / "output").read_text()


@pytest.mark.parametrize("layout", [NATIVE, pytest.param(LAYOUT, marks=pytest.mark.heavy)], ids=["one", "two"])
def test_a_second_signal_does_not_wait(tmp_path: Path, layout: Layout) -> None:
    with agent("stubborn", tmp_path, layout, grace=600) as process:
        process.send_signal(signal.SIGTERM)
        wait_for(*(tmp_path / f"told-{rank}" for rank in range(layout.ranks)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) > 0
        assert "got a second signal" in (tmp_path / "output").read_text()


@pytest.mark.parametrize("layout", [NATIVE, LAYOUT], ids=["one", "two"])
def test_ranks_have_the_time_to_save(tmp_path: Path, layout: Layout) -> None:
    """Ctrl-C goes to all processes of a terminal's session; the ranks hear of it once, as a request to leave.

    When the first has left, the agent ends the second, which has saved too and only takes its time.
    """
    with agent("patient", tmp_path, layout, grace=60) as process:
        os.killpg(process.pid, signal.SIGINT)
        told = [tmp_path / f"told-{rank}" for rank in range(layout.ranks)]
        wait_for(*told)
        assert process.poll() is None
        (tmp_path / "go").touch()
        assert process.wait(60) == LEFT_AFTER_SAVING
    assert {path.read_text() for path in told} == {"SIGTERM"}


@pytest.mark.parametrize("layout", [NATIVE, LAYOUT], ids=["one", "two"])
def test_an_error_that_would_come_back_has_a_status_of_its_own(tmp_path: Path, layout: Layout) -> None:
    process = start("corrupt", tmp_path, layout)
    assert process.wait(120) == PERMANENT_ERROR
    assert "Corrupt: the run is not what it was" in (tmp_path / "output").read_text()


def test_the_trainer_tells_its_errors_apart(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text", steps=1000)
    assert launch_and_wait(lake, config, NATIVE, tmp_path / "launch") == PERMANENT_ERROR
    [error] = [event for event in read_logbook(lake, config.key) if event["event"] == "error"]
    assert error["error"] == "ValueError" and error["message"] in (tmp_path / "launch" / "output").read_text()
    lake.write_json(f"runs/{config.key}/run.json", config.to_plain() | {"seed": 8})
    assert launch_and_wait(lake, config, NATIVE, tmp_path / "again") == PERMANENT_ERROR


@pytest.mark.heavy
def test_an_agent_that_waits_for_others_leaves_at_once(tmp_path: Path) -> None:
    """Of two machines, only machine 0 has come: nothing is trained yet, so there is nothing to save."""
    command = commands_for_two_machines("train", tmp_path)[0]
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT)
    host, _, port = command[command.index("--endpoint") + 1].rpartition(":")
    deadline = time.monotonic() + 120
    while not _listens(host, int(port)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == LEFT_AFTER_SAVING


def _listens(host: str, port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((host, port)) == 0


def test_cancelling_a_launch_has_every_rank_save_and_leave(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    ready: list[str] = []
    markers: list[str] = []

    def on_line(line: str) -> None:
        ready.extend(["ready"] * line.count("ready"))  # of both ranks, whose words may come as one line
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
