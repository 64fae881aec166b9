"""The commands, a run on two machines, what listens during a run, and a rank's death with its parent."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.store.lake import Lake
from model.layout import Layout
from model.supervision.heartbeat import read_mark
from model.supervision.launch import Machines, launch_command
from model.supervision.termination import LEFT_AFTER_SAVING
from tests.model.support.small import small_run
from tests.model.support.world import STEPS

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = Layout("deepspeed", data=2)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def commands_for_two_machines(run: str, folder: Path, host: str = "127.0.0.1") -> list[list[str]]:
    """The commands of two machines that are both this one, with the tests' program in place of the trainer."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        endpoint = f"{host}:{listener.getsockname()[1]}"
    commands = [launch_command("lake", run, LAYOUT, folder, Machines(2, rank, endpoint), grace=60) for rank in range(2)]
    return [with_program(command) for command in commands]


def with_program(command: list[str]) -> list[str]:
    return ["tests.model.support.world" if word == "model.train" else word for word in command]


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f"{paths} did not come"
        time.sleep(0.02)


def test_the_command_of_several_ranks_on_one_machine() -> None:
    command = launch_command("lake", "key", LAYOUT, Path("cache"), grace=17)
    assert command[1:8] == ["-m", "model.agent", "17", "--ranks", "2", "-m", "model.train"]
    assert launch_command("lake", "key", LAYOUT, Path("cache"), Machines(1, 0, "host:1"), grace=17) == command
    options = dict(zip(command[8::2], command[9::2], strict=True))
    assert (options["--lake"], options["--run-key"], options["--cache"]) == ("lake", "key", "cache")
    assert json.loads(options["--layout"]) == LAYOUT.to_plain()


@pytest.mark.parametrize("machines", [None, Machines(1, 0, "host:1")], ids=["here", "one machine"])
def test_the_command_of_one_process(machines: Machines | None) -> None:
    command = launch_command("lake", "key", Layout(), Path("cache"), machines, grace=17)
    assert command[1:6] == ["-m", "model.agent", "17", "-m", "model.train"]


def test_a_machine_has_its_place_in_the_run() -> None:
    layout = Layout("deepspeed", data=6)
    command = launch_command("lake", "key", layout, Path("cache"), Machines(2, 1, "ten:29400"), grace=17)
    at = command.index("-m", 3)
    assert command[1:4] == ["-m", "model.agent", "17"] and command[at + 1] == "model.train"
    assert dict(zip(command[4:at:2], command[5:at:2], strict=True)) == {
        **{"--ranks": "3", "--machines": "2", "--machine": "1", "--endpoint": "ten:29400", "--run": "key"}
    }


@pytest.mark.parametrize(
    ("count", "rank", "endpoint", "message"),
    [
        (0, 0, "host:1", "at least 1"),
        (2, 2, "host:1", "rank must be 0 to 1"),
        (2, 0, "host", "HOST:PORT"),
        (2, 0, ":29400", "HOST:PORT"),
        (2, 0, "host:99999", "HOST:PORT"),
        (2, 0, "0.0.0.0:29400", "every interface"),
        (2, 1, "[::]:29400", "every interface"),
        (2, 1, "::ffff:0.0.0.0:29400", "every interface"),
    ],
)
def test_bad_machines_are_refused(count: int, rank: int, endpoint: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Machines(count, rank, endpoint)


def test_ranks_that_machines_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="3 ranks cannot be shared evenly among 2 machines"):
        launch_command("lake", "key", Layout("deepspeed", data=3), Path("cache"), Machines(2, 0, "host:1"))


def test_two_machines_train_one_run_and_leave_together(tmp_path: Path) -> None:
    """Two agents with a rank each; the descent is that of one process that holds both ranks' rows.

    The store listens at the named address only, Gloo on the address of its interface, the agents and others nowhere.

    Then one machine alone is told to leave: all ranks do so at one step, both agents give them the time to save, and
    both end with the code that says so.
    """
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "GLOO_SOCKET_IFNAME"}
    commands = commands_for_two_machines("train", tmp_path, "127.0.0.2")
    endpoint = commands[0][commands[0].index("--endpoint") + 1]
    agents = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for command in commands
    ]
    wait_for(tmp_path / "ready-0", tmp_path / "ready-1")
    for rank, agent in enumerate(agents):
        assert listeners(psutil.Process(agent.pid)) == []
        [process] = psutil.Process(agent.pid).children(recursive=True)
        found = [(of.laddr.ip, of.laddr.port) for of in listeners(process)]
        stores = [f"{ip}:{port}" for ip, port in found if ip != "127.0.0.1"]
        assert stores == ([endpoint] if rank == 0 else []) and len(found) > len(stores)
        variables = process.environ()
        assert (variables["GLOO_SOCKET_IFNAME"], variables["NCCL_SOCKET_IFNAME"]) == ("lo", "=lo")
    agents[1].send_signal(signal.SIGTERM)
    wait_for(tmp_path / "leaving-0", tmp_path / "leaving-1")
    assert [agent.poll() for agent in agents] == [None, None]
    (tmp_path / "go").touch()
    outputs = [agent.communicate(timeout=60)[0].decode() for agent in agents]
    assert [agent.returncode for agent in agents] == [LEFT_AFTER_SAVING] * 2, "\n".join(outputs)
    first, second = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2))
    assert (first["world"], first["machine"], second["machine"]) == (2, 0, 1)
    assert first["layout"] == LAYOUT.to_plain()
    assert (first["signal"], second["signal"]) == ("", "SIGTERM")
    assert first["weights"] == second["weights"] and first["losses"] == second["losses"]
    assert first["losses"][-1] < first["losses"][0] / 10
    assert first["weights"] == pytest.approx(_descent(), abs=1e-12)


def _descent() -> list[float]:
    """The same with numpy, all rows in one place."""
    import numpy
    import torch

    parts = [torch.randn(8, 3, generator=torch.Generator().manual_seed(r), dtype=torch.float64) for r in range(2)]
    rows = torch.cat(parts).numpy()
    targets = rows @ numpy.array([1.0, -2.0, 3.0])
    weights = numpy.zeros(3)
    for _ in range(STEPS):
        weights = weights - 0.2 * 2 / len(rows) * rows.T @ (rows @ weights - targets)
    return [float(weight) for weight in weights]


def test_a_training_on_one_machine_listens_on_loopback_only(lake: Lake, tmp_path: Path) -> None:
    """Whoever reaches a rank's or the agent's port must be on this machine; torchrun's own store is open to all."""
    steps = 100_000  # it is told to leave long before
    checkpoints = {"kind": "every", "every": steps}
    config = small_run(lake, tmp_path / "text", epochs=400, steps=steps, checkpoints=checkpoints)
    output = tmp_path / "output"
    command = launch_command(lake.uri, config.key, LAYOUT, tmp_path / "cache", grace=60)
    # No variable of the user's opens the ranks to the network.
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "GLOO_SOCKET_IFNAME"}
    with open(output, "wb") as file:
        agent = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 120
        while (mark := read_mark(lake, config.key, rank=1)) is None or mark.step < 2:
            assert agent.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        tree = [psutil.Process(agent.pid), *psutil.Process(agent.pid).children(recursive=True)]
        listening = [(one.pid, of.laddr.ip) for one in tree for of in listeners(one)]
        assert len(tree) == 3 and {pid for pid, _ in listening} == {rank.pid for rank in tree[1:]}
        assert {address for _, address in listening} <= {"127.0.0.1", "::1"}
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == LEFT_AFTER_SAVING, output.read_text()
    finally:
        agent.kill()
        agent.wait()


def listeners(process: psutil.Process) -> list[Any]:
    return [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]


def test_only_the_user_can_open_the_file_where_ranks_meet(tmp_path: Path) -> None:
    command = with_program(launch_command("lake", "train", LAYOUT, tmp_path, grace=60))
    agent = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT)
    try:
        wait_for(tmp_path / "ready-0", tmp_path / "ready-1")
        variables = psutil.Process(int((tmp_path / "ready-0").read_text())).environ()
        assert "MASTER_ADDR" not in variables and "MASTER_PORT" not in variables
        meeting = Path(variables["MILLRACE_MEETING_FILE"])
        assert meeting.is_file() and stat.S_IMODE(meeting.parent.stat().st_mode) == 0o700
        (tmp_path / "go").touch()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == LEFT_AFTER_SAVING
        assert not meeting.parent.exists()
    finally:
        agent.kill()
        agent.wait()


def test_a_rank_dies_with_its_launcher() -> None:
    rank = (
        "import signal; from model.supervision.launch import die_with_parent; die_with_parent(); "
        "print('ready', flush=True); signal.pause()"
    )
    parent = (
        "import subprocess, sys; rank = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
        "print(rank.pid, flush=True); rank.wait()"
    )
    launcher = subprocess.Popen([sys.executable, "-c", parent, rank], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    first, second = launcher.stdout.readline().split(), launcher.stdout.readline().split()
    pid = int(first[0] if second == ["ready"] else second[0])
    descriptor = os.pidfd_open(pid)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    assert select.select([descriptor], [], [], 10)[0], "the rank is still there ten seconds after its launcher"
    os.close(descriptor)


def test_model_stands_without_deepspeed_prefect_and_arrow() -> None:
    program = (
        "import sys, model.train, model.analysis.scoring, model.agent, model.supervision.heartbeat; "
        "found = {'deepspeed', 'prefect', 'pyarrow', 'pydantic', 'ray'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_an_agent_of_one_rank_starts_without_torch() -> None:
    """Its import takes seconds, and the rank's own comes after it."""
    program = "import sys, model.agent; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


TWO_MACHINES = """
import json, pathlib, psutil, signal, subprocess, sys, time
folder, *commands = pathlib.Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
agents = [subprocess.Popen(command, stdout=sys.stderr) for command in commands]
try:
    deadline = time.monotonic() + 120
    while not all((folder / f"ready-{rank}").exists() for rank in range(2)):
        assert time.monotonic() < deadline and not any(agent.poll() for agent in agents)
        time.sleep(0.05)
    pids = [int((folder / f"ready-{rank}").read_text()) for rank in range(2)]
    found = [psutil.Process(pid).net_connections("inet") for pid in pids]
    print(json.dumps([[one.laddr for one in ones if one.status == "LISTEN"] for ones in found]))
    (folder / "go").touch()
    agents[0].send_signal(signal.SIGTERM)
    assert [agent.wait(60) for agent in agents] == [75, 75]
finally:
    for agent in agents:
        agent.kill()
"""
# A network of its own with two interfaces beside loopback.
NETWORK = (
    "ip link set lo up && ip link add inside type veth peer name other && ip addr add 10.77.0.1/24 dev inside && "
    'ip addr add 10.78.0.1/24 dev other && ip link set inside up && ip link set other up && exec "$@"'
)


@pytest.mark.heavy
def test_ranks_of_several_machines_listen_on_the_named_interface_only(tmp_path: Path) -> None:
    alone = ["unshare", "--map-root-user", "--net", "sh", "-c", NETWORK, "sh"]
    try:
        subprocess.run([*alone, "true"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine gives no network of its own: {error}")
    places = [Machines(2, rank, "10.77.0.1:29400") for rank in range(2)]
    commands = [with_program(launch_command("lake", "train", LAYOUT, tmp_path, place, grace=60)) for place in places]
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "GLOO_SOCKET_IFNAME"}
    done = subprocess.run(
        [*alone, sys.executable, "-c", TWO_MACHINES, str(tmp_path), *map(json.dumps, commands)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert {address for address, _ in [*first, *second]} == {"10.77.0.1"}
    assert ["10.77.0.1", 29400] in first and second
