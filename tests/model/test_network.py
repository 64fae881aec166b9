"""Where a run on several machines listens: at the named address, and nowhere else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from model.parallel import network
from model.parallel.meeting import meet
from model.parallel.network import interface_of, interface_to, listen_at, split_endpoint
from model.supervision.termination import PERMANENT_ERROR

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = "192.0.2.1"  # for documentation (RFC 5737): no machine's address


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str] | None) -> list[str]:
    """Let a name mean each of `answers` in turn, and the last one ever after; None: it is unknown."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        if answer is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(network, "POLL_SECONDS", 0.0)
    return asked


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [("ten:29400", ("ten", 29400)), ("10.0.0.1:1", ("10.0.0.1", 1)), ("[fd00::1]:80", ("fd00::1", 80))],
)
def test_an_endpoint_is_host_and_port(endpoint: str, parts: tuple[str, int]) -> None:
    assert split_endpoint(endpoint) == parts


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "[::1]"])
def test_only_the_named_address_is_bound(host: str) -> None:
    endpoint = f"{host}:{free_port()}"
    with listen_at(endpoint) as listener:
        assert listener.getsockname()[:2] == split_endpoint(endpoint)
        assert interface_of(listener.getsockname()[0]) == interface_to(endpoint) == "lo"
        with pytest.raises(OSError, match=r"machine 0 cannot listen at .*; free the port"):
            listen_at(endpoint)


def test_an_address_of_another_machine_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.1 is not an address of .*, which is machine 0"):
        listen_at(f"{ELSEWHERE}:29400")


def test_a_name_may_come_to_mean_this_machine_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod's name is unknown at first, or still means the pod that it replaces."""
    asked = names(monkeypatch, None, [ELSEWHERE], [ELSEWHERE, "127.0.0.2"])
    with listen_at(f"pod-0.job:{free_port('127.0.0.2')}") as listener:
        assert listener.getsockname()[0] == "127.0.0.2" and len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (None, OSError, "pod-0 has no address"),
        ([ELSEWHERE], OSError, "pod-0 means 192.0.2.1, which is not an address of"),
        (["0.0.0.0"], ValueError, "every interface"),
    ],
)
def test_a_name_that_does_not_mean_this_machine_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: list[str] | None, error: type[Exception], message: str
) -> None:
    names(monkeypatch, answer)
    with pytest.raises(error, match=message):
        listen_at("pod-0:29400", patience=0.0)


def test_an_address_without_an_interface_is_told() -> None:
    with pytest.raises(OSError, match=r"no network interface of .* has the address 192\.0\.2\.1"):
        interface_of(ELSEWHERE)


def test_an_agent_that_cannot_listen_starts_no_rank() -> None:
    options = ["--ranks", "1", "--machines", "2", "--machine", "0", "--endpoint", f"{ELSEWHERE}:1", "--run", "key"]
    command = [sys.executable, "-m", "model.agent", "1", *options, "-m", "no.such.program"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (PERMANENT_ERROR, 1)
    assert "192.0.2.1 is not an address of" in ended.stderr


def test_the_store_listens_at_its_address_and_all_ranks_join_it() -> None:
    """In this process, with two ranks as threads: before both have come, neither has a store."""
    endpoint = f"127.0.0.2:{free_port('127.0.0.2')}"
    before = listening()
    socket_ = listen_at(endpoint)
    found: list[bytes] = []

    def second() -> None:
        store = meet(endpoint, "run", 1, 2, None, seconds=60)
        found.append(store.get("greeting"))

    thread = threading.Thread(target=second)
    thread.start()
    store = meet(endpoint, "run", 0, 2, socket_.detach(), seconds=60)
    store.set("greeting", b"hello")
    thread.join()
    assert found == [b"hello"]
    assert listening() - before == {split_endpoint(endpoint)}


def test_ranks_that_do_not_come_are_named() -> None:
    endpoint = f"127.0.0.2:{free_port('127.0.0.2')}"
    with pytest.raises(TimeoutError, match=r"these ranks did not join .*: rank 1, rank 2; start them"):
        meet(endpoint, "run", 0, 3, listen_at(endpoint).detach(), seconds=0.0)
    with pytest.raises(TimeoutError, match="machine 0 did not listen at"):
        meet(f"127.0.0.2:{free_port('127.0.0.2')}", "run", 1, 3, None, seconds=0.0)


def listening() -> set[tuple[str, int]]:
    found = psutil.Process(os.getpid()).net_connections("inet")
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}
