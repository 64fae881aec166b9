"""One command on two "machines" of a Ray cluster on this one: lines, exit codes, and nothing left behind."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.launcher import GuardLost, Stalled, Watch, carriers
from model.supervision.launch import Machines, launch_command
from tests.model.test_launch import LAYOUT, with_program

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from infra.clusters.ray import MachineLost, Place, Wanted, launch_on_ray  # noqa: E402 - after the check for Ray

ROOT = Path(__file__).resolve().parents[3]
WANTED = Wanted(machines=2, cpus=1, gpus=0)
ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
        yield
        ray.shutdown()


def python(code: str) -> list[str]:
    return ["python", "-c", textwrap.dedent(code)]


def test_every_machine_runs_its_part() -> None:
    lines: list[str] = []

    def part(place: Place) -> list[str]:
        host, _, port = place.endpoint.rpartition(":")
        assert host in {node["NodeManagerAddress"] for node in ray.nodes()} and int(port) > 0
        return [*python("import sys; print(*sys.argv[1:])"), str(place.rank), place.endpoint]

    assert launch_on_ray("auto", WANTED, part, environment=ENVIRONMENT, on_line=lines.append) == 0
    ranks, endpoints = zip(*(line.partition("] ")[2].split() for line in sorted(lines)), strict=True)
    assert ranks == ("0", "1") and len(set(endpoints)) == 1
    assert all(line.startswith(f"[machine {rank}]") for rank, line in enumerate(sorted(lines)))


def _ending(rank: int, then: str) -> list[str]:
    """A part that is up, shows its marker, and ends as `then` says."""
    return python(f"""
        import os, signal, sys
        def leave(*_):
            open(os.environ["LEFT"] + "{rank}", "w").close()
            sys.exit(75)
        signal.signal(signal.SIGTERM, leave)
        print("marker", os.environ["MILLRACE_LAUNCH"])
        {then}
    """)


def test_a_part_that_fails_ends_the_others(tmp_path: Path) -> None:
    lines: list[str] = []
    wait = "while not os.path.exists(os.environ['LEFT'] + 'go'): signal.sigtimedwait([], 0.05)"

    def on_line(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            (tmp_path / "go").touch()

    def part(place: Place) -> list[str]:
        return _ending(place.rank, f"{wait}\n        sys.exit(7)" if place.rank else "signal.pause()")

    environment = {**ENVIRONMENT, "LEFT": f"{tmp_path}/"}
    assert launch_on_ray("auto", WANTED, part, environment=environment, on_line=on_line) == 7
    assert (tmp_path / "0").exists(), "the other part was not told to leave"
    assert not any(carriers(line.split()[-1]) for line in lines)


def test_cancelling_ends_every_part(tmp_path: Path) -> None:
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    environment = {**ENVIRONMENT, "LEFT": f"{tmp_path}/"}
    with pytest.raises(KeyboardInterrupt):
        launch_on_ray(
            *("auto", WANTED, lambda place: _ending(place.rank, "signal.pause()")),
            environment=environment,
            on_line=on_line,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"], "a part was killed without being told"
    assert not any(carriers(line.split()[-1]) for line in lines)


def test_a_launch_that_stands_still_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Stalled, match="no first sign of progress"):
        launch_on_ray(
            *("auto", WANTED, lambda place: _ending(place.rank, "signal.pause()")),
            environment={**ENVIRONMENT, "LEFT": f"{tmp_path}/"},
            on_line=lambda line: None,
            watch=Watch(lambda: None, startup_seconds=0.001, steady_seconds=600),
        )


GUARD = "os.getppid()"
ACTOR = "int(open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1])"


@pytest.mark.parametrize(("killed", "error"), [(GUARD, GuardLost), (ACTOR, MachineLost)], ids=["guard", "actor"])
def test_lost_processes_are_told(killed: str, error: type[Exception], tmp_path: Path) -> None:
    """The guard beside a part, or the actor over it, is killed: no part is left, and the error says which."""
    lines: list[str] = []

    def part(place: Place) -> list[str]:
        return _ending(place.rank, f"os.kill({killed}, signal.SIGKILL)" if place.rank else "signal.pause()")

    with pytest.raises(error):
        launch_on_ray(
            *("auto", WANTED, part), environment={**ENVIRONMENT, "LEFT": f"{tmp_path}/"}, on_line=lines.append
        )
    assert not any(carriers(line.split()[-1]) for line in lines if "machine 0" in line)


@pytest.mark.heavy
def test_two_machines_train_one_run_through_ray(tmp_path: Path) -> None:
    """Real agents, each with a rank: they meet, train, and save and leave when the launch is cancelled."""
    (tmp_path / "go").touch()
    ready: list[str] = []

    def on_line(line: str) -> None:
        ready.extend([line] if line.endswith("ready") else [])
        if len(ready) == 2:
            raise KeyboardInterrupt

    def part(place: Place) -> list[str]:
        machines = Machines(2, place.rank, place.endpoint)
        return with_program(launch_command("lake", "train", LAYOUT, tmp_path, machines, grace=25))

    with pytest.raises(KeyboardInterrupt):
        launch_on_ray(
            *("auto", WANTED, part), environment={**ENVIRONMENT, "OMP_NUM_THREADS": "1"}, on_line=on_line, grace=25
        )
    assert {path.name for path in tmp_path.glob("found-*.json")} == {"found-0.json", "found-1.json"}
