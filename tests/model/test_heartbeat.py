"""Marks of ranks: who is stuck, where, and since when."""

from __future__ import annotations

import socket
import sys
import threading
from dataclasses import asdict, replace
from subprocess import run as run_process
from typing import Any

import pytest

from infra.store.errors import StoreFull, StoreUnavailable
from infra.store.lake import Lake
from model.supervision import heartbeat as module
from model.supervision.heartbeat import Heartbeat, Mark, Phase, describe, read_mark, read_marks, stuck

RUN = "run"


def put(lake: Lake, rank: int, step: int, phase: Phase, time: float, launch: str = "new", host: str = "gpu-7") -> None:
    lake.write_json(f"runs/{RUN}/heartbeat/{rank}.json", asdict(Mark(launch, rank, step, phase, time, host)))


def test_the_thread_carries_the_newest_mark(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()
    write = Lake.write_json
    monkeypatch.setattr(Lake, "write_json", lambda *arguments: (write(*arguments), written.set()))
    with Heartbeat(lake, RUN, 3, "launch", interval=0.001) as heartbeat:
        heartbeat.beat(41, "communication")
        assert written.wait(60)
    mark = read_mark(lake, RUN, 3)
    assert mark is not None
    assert (mark.launch, mark.rank, mark.step, mark.phase) == ("launch", 3, 41, "communication")
    assert mark.host == socket.gethostname()
    assert read_mark(lake, RUN, 2) is None


def test_a_main_thread_that_makes_no_marks_leaves_its_last_standing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread lives on, but what it says does not grow younger."""
    heartbeat = Heartbeat(lake, RUN, 0, "launch")
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    heartbeat.beat(41, "data")
    heartbeat.write()
    first = read_mark(lake, RUN, 0)
    lake.delete(f"runs/{RUN}/heartbeat/0.json")
    monkeypatch.setattr(module.time, "time", lambda: 1300.0)
    heartbeat.write()
    assert read_mark(lake, RUN, 0) is None, "a mark was written twice"
    heartbeat.beat(41, "compute")
    heartbeat.write()
    assert first is not None
    assert read_mark(lake, RUN, 0) == replace(first, time=1300.0, phase="compute")


def test_a_store_that_is_away_does_not_end_the_marks(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Semaphore(0)
    write = Lake.write_json
    answers: list[Any] = [StoreUnavailable("away"), StoreUnavailable("away")]

    def sometimes(self: Lake, path: str, value: Any) -> None:
        tried.release()
        if answers:
            raise answers.pop()
        write(self, path, value)

    monkeypatch.setattr(Lake, "write_json", sometimes)
    with Heartbeat(lake, RUN, 0, "launch", interval=0.001) as heartbeat:
        heartbeat.beat(1, "data")
        assert all(tried.acquire(timeout=60) for _ in range(3))
    assert read_mark(lake, RUN, 0) is not None


def test_an_error_of_the_store_that_stays_is_told_to_the_main_thread(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Lake, path: str, value: Any) -> None:
        raise StoreFull("no space is left")

    monkeypatch.setattr(Lake, "write_json", full)
    with Heartbeat(lake, RUN, 0, "launch", interval=0.001) as heartbeat:
        heartbeat.beat(1, "data")
        heartbeat._thread.join(60)
        with pytest.raises(StoreFull):
            heartbeat.beat(2, "data")


def test_stuck_ranks_are_named_the_one_that_others_wait_for_first(lake: Lake) -> None:
    """Rank 3 hangs in the data; the others have come to the exchange and wait there for it."""
    for rank in (0, 1, 2):
        put(lake, rank, 41, "communication", time=1001.0, host=f"gpu-{rank}")
    put(lake, 3, 41, "data", time=1000.0)
    found = stuck(lake, RUN, ranks=4, began=900.0, limit=200.0, now=1300.0)
    assert [(one.rank, one.seconds) for one in found] == [(3, 300.0), (0, 299.0), (1, 299.0), (2, 299.0)]
    assert describe(found) == (
        "rank 3 (host gpu-7) has been reading the sequences of step 41 for 300 s; "
        "ranks 0 to 2 (host gpu-0, gpu-1, gpu-2) have been in the gradient exchange of step 41 for 299 s"
    )
    assert stuck(lake, RUN, ranks=4, began=900.0, limit=300.0, now=1300.0) == []


def test_a_rank_in_the_exchange(lake: Lake) -> None:
    put(lake, 3, 41, "communication", time=1000.0)
    [only] = stuck(lake, RUN, ranks=4, began=1200.0, limit=200.0, now=1300.0) or [None]
    assert only is None, "a mark from before the launch counts for nothing"
    found = [one for one in stuck(lake, RUN, 4, 900.0, 299.0, 1300.0) if one.rank == 3]
    assert describe(found) == "rank 3 (host gpu-7) has been in the gradient exchange of step 41 for 300 s"


def test_ranks_without_a_sign_are_named_too(lake: Lake) -> None:
    put(lake, 0, 0, "starting", time=1299.0)
    put(lake, 1, 7, "compute", time=1000.0, launch="old")
    found = stuck(lake, RUN, ranks=4, began=1000.5, limit=200.0, now=1300.5)
    assert describe(found) == "ranks 1 to 3 have sent no heartbeat for 300 s"


def test_marks_of_an_older_and_larger_launch_are_left_out(lake: Lake) -> None:
    put(lake, 0, 2, "compute", time=2000.0)
    put(lake, 1, 900, "compute", time=1000.0, launch="old")
    assert [mark.rank for mark in read_marks(lake, RUN)] == [0]


@pytest.mark.parametrize(("age", "status"), [(1.0, 0), (900.0, 1)])
def test_the_probe_of_a_cluster_asks_for_the_ranks_of_its_own_host(lake: Lake, age: float, status: int) -> None:
    import time

    put(lake, 0, 41, "compute", time=time.time() - age, host=socket.gethostname())
    put(lake, 1, 41, "compute", time=time.time() - 900, host="another")
    command = [
        sys.executable,
        "-m",
        "model.supervision.heartbeat",
        "--lake",
        lake.uri,
        "--run-key",
        RUN,
        "--limit",
        "300",
    ]
    done = run_process(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert ("rank 0" in done.stderr, "rank 1" in done.stderr) == (status == 1, False)
