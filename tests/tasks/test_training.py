"""How a launch of a run is judged from outside: finished, stopped, interrupted, stuck, failed; and layouts as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pydantic
import pytest

from infra.launcher import GuardLost, LaunchError, Stalled, StallJudge, Watch
from infra.store.errors import StoreUnavailable
from infra.store.lake import Lake
from model.checkpoints.manifest import MANIFEST, Checkpoint, checkpoint_folder, commit, delete_manifest
from model.layout import Layout
from model.supervision.heartbeat import Mark
from model.supervision.launch import Machines, launch_command
from model.supervision.logbook import Logbook, read_logbook
from model.supervision.progress import ProgressWriter
from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT_ERROR
from tasks import layout_request, supervisor, training
from tasks.layout_request import LayoutRequest
from tasks.run_settings import WrongSetting
from tasks.training import (
    TrainingFailed,
    TrainingInterrupted,
    TrainingStopped,
    create_training_run,
    is_finished,
    train,
    train_on,
)
from tests.model.support.small import small_run

RUN = "1a2b3c4d5e6f7a8b"
LAYOUT = LayoutRequest(data=4, zero=1, micro_batch=1, steady_seconds=300)
Work = Callable[[Lake, Watch], int]


@pytest.fixture
def launched(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Trains with `work` in place of the processes: it does to the lake what they would, and ends as they would.

    The first launch is called "launch".
    """
    launches = iter(["launch", "second", "third"])

    def carry_out(work: Work, output: Sequence[str] = ()) -> None:
        def launch(command: list[str], *, watch: Watch, on_line: Callable[[str], None], **_: Any) -> int:
            for line in output:
                on_line(line)
            return work(lake, watch)

        monkeypatch.setattr(supervisor, "launch", launch)
        monkeypatch.setattr(supervisor, "new_launch", lambda: next(launches))
        train(lake, RUN, LAYOUT, lambda line: None, lambda step, steps: None)

    return carry_out


def progress(lake: Lake, state: Any, step: int, run: str = RUN, launch: str = "launch") -> None:
    ProgressWriter(lake, run, 100, launch).write(state, step, None, 0, None)


def finish(lake: Lake, run: str) -> None:
    """What a launch leaves that has reached the last step."""
    commit(lake, Checkpoint(run, 100, "", {}, ()))
    progress(lake, "finished", 100, run)


def event(lake: Lake, name: str, step: int, launch: str = "launch", **facts: Any) -> None:
    Logbook(lake, RUN, launch, 0).write(name, step, **facts)


def mark(lake: Lake, rank: int, step: int, phase: Any, when: float) -> None:
    lake.write_json(f"runs/{RUN}/heartbeat/{rank}.json", asdict(Mark("launch", rank, step, phase, when, "gpu-7")))


def test_a_run_that_ends_well_is_finished(launched: Callable[[Work], None]) -> None:
    launched(lambda lake, watch: 0)


def test_stuck_ranks_are_named_and_stand_in_the_logbook(
    lake: Lake, launched: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 3 hangs in the data of step 41, and the others wait for it in the exchange."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])

    def work(lake: Lake, watch: Watch) -> int:
        now[0] = 1100.0
        progress(lake, "training", 40)
        for rank in range(3):
            mark(lake, rank, 41, "communication", 1101.0)
        mark(lake, 3, 41, "data", 1100.5)
        assert watch.progress() == (40, 1101.0)
        now[0] = 1401.0
        raise Stalled("no progress")

    with pytest.raises(TrainingInterrupted) as raised:
        launched(work)
    named = (
        "rank 3 (host gpu-7) has been reading the sequences of step 41 for 300 s; "
        "ranks 0 to 2 (host gpu-7) have been in the gradient exchange of step 41 for 300 s"
    )
    assert str(raised.value) == (
        f"the run {RUN[:12]} made no progress and was ended ({named}); start it again to resume"
    )
    [written] = [event for event in read_logbook(lake, RUN) if event["event"] == "stuck"]
    assert (written["step"], written["rank"], written["message"]) == (40, supervisor.RANK, named)
    assert [one["rank"] for one in written["ranks"]] == [3, 0, 1, 2]
    assert written["ranks"][0]["mark"]["phase"] == "data"


def test_marks_are_progress_inside_a_long_step(
    lake: Lake, launched: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: asked[0])

    def work(lake: Lake, watch: Watch) -> int:
        progress(lake, "training", 40)
        values = []
        for second in range(3):
            mark(lake, 0, 41, "compute", float(second))
            asked[0] += 60
            values.append(watch.progress())
        assert len(set(values)) == 3
        return 0

    launched(work)


def test_what_an_older_launch_left_is_no_progress(lake: Lake, launched: Callable[[Work], None]) -> None:
    """Else a start would be given the time of a step, as long as the old progress stands there."""
    progress(lake, "training", 40, launch="older")

    def work(lake: Lake, watch: Watch) -> int:
        assert watch.progress() is None
        progress(lake, "starting", 40)
        assert watch.progress() is None
        progress(lake, "training", 40)
        assert watch.progress() == (40, 0.0)
        return 0

    launched(work)


@pytest.mark.parametrize("status", [0, LEFT_AFTER_SAVING])
def test_a_run_that_a_person_stopped_is_not_started_again(
    launched: Callable[[Work], None], status: int, lake: Lake
) -> None:
    def work(lake: Lake, watch: Watch) -> int:
        event(lake, "stop", 41, who="ann", request="1")
        return status

    with pytest.raises(TrainingStopped, match="was stopped at step 41 by ann; start it again to resume"):
        launched(work)
    # The stop of an older launch says nothing of this one.
    launched(lambda lake, watch: 0)


def test_a_run_that_the_machine_told_to_leave_is_started_again(launched: Callable[[Work], None]) -> None:
    def work(lake: Lake, watch: Watch) -> int:
        event(lake, "terminated", 41, signal="SIGTERM")
        return LEFT_AFTER_SAVING

    with pytest.raises(TrainingInterrupted, match="was asked to exit and has saved"):
        launched(work)


def test_lost_processes_are_started_again(launched: Callable[[Work], None]) -> None:
    with pytest.raises(TrainingInterrupted, match="exit code -9"):
        launched(lambda lake, watch: -9)

    def lose(lake: Lake, watch: Watch) -> int:
        raise GuardLost("the guard was killed")

    with pytest.raises(TrainingInterrupted, match="the guard was killed"):
        launched(lose)


def test_errors_that_stay_are_failures(launched: Callable[[Work], None]) -> None:
    def work(lake: Lake, watch: Watch) -> int:
        event(lake, "error", 41, error="Diverged", message="the loss is nan")
        return 1

    with pytest.raises(TrainingFailed, match="failed at step 41: the loss is nan"):
        launched(work)

    def missing(lake: Lake, watch: Watch) -> int:
        raise LaunchError("there is no python")

    with pytest.raises(TrainingFailed, match="could not be started: there is no python"):
        launched(missing)


def test_errors_of_another_launch_are_not_this_ones(launched: Callable[[Work], None]) -> None:
    """A launch that this one has taken over says so while this one runs; then a rank of this one is killed."""

    def work(lake: Lake, watch: Watch) -> int:
        event(lake, "error", 40, launch="older", error="Superseded", message="launch 2 has taken over this run")
        event(lake, "stop", 40, launch="older", who="ann", request="1")
        return -9

    with pytest.raises(TrainingInterrupted, match="exit code -9"):
        launched(work)


FULL = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "model/train.py", line 50, in main
[rank1]: RuntimeError: Connection closed by peer
Traceback (most recent call last):
  File "infra/store/lake.py", line 200, in write
OSError: [Errno 28] No space left on device

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "model/train.py", line 61, in main
infra.store.errors.StoreFull: lake/runs/1a: no space is left. Free some, then run the same command again.
rank 0 ended with status 78; stopping the other ranks
"""


def test_an_error_that_reached_no_logbook_is_read_from_the_output(launched: Callable[..., None]) -> None:
    """A full lake takes no event; and an error before the logbook is open has nowhere to write one."""
    with pytest.raises(
        TrainingFailed, match=r"failed: StoreFull: lake/runs/1a: no space is left\. Free some, then run"
    ):
        launched(lambda lake, watch: PERMANENT_ERROR, FULL.splitlines())
    with pytest.raises(TrainingFailed, match="exit code 78; its output is in the log"):
        launched(lambda lake, watch: PERMANENT_ERROR)
    crash = ["Traceback (most recent call last):", '  File "x.py", line 1', "ImportError: no module named y"]
    with pytest.raises(TrainingInterrupted, match=r"interrupted \(ImportError: no module named y\)"):
        launched(lambda lake, watch: 1, crash)


def test_an_outage_of_the_store_is_no_standstill(
    launched: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks wait for the store by themselves: the supervisor neither fails nor ends them."""

    def work(lake: Lake, watch: Watch) -> int:
        judge = StallJudge(watch)
        now = [1000.0]
        with monkeypatch.context() as clock:
            clock.setattr(time, "monotonic", lambda: now[0])
            progress(lake, "training", 40)
            judge.look()
            with monkeypatch.context() as outage:
                outage.setattr(Lake, "read", refuse)
                for _ in range(10):
                    now[0] += LAYOUT.steady_seconds
                    judge.look()
            now[0] += LAYOUT.steady_seconds
            judge.look()
            now[0] += LAYOUT.steady_seconds + 1
            with pytest.raises(Stalled):
                judge.look()
        return 0

    def refuse(lake: Lake, path: str) -> bytes:
        raise StoreUnavailable(f"{path}: the store did not answer")

    launched(work)


def test_a_request_is_the_layout() -> None:
    values = {"data": 2, "tensor": 2, "pipeline": 2, "zero": 1, "micro_batch": 3, "sequence_parallel": True}
    request = LayoutRequest.model_validate({**values, "recompute": "selective", "device": "cuda"})
    assert request.layout() == Layout("deepspeed", **values, recompute="selective", device="cuda")  # type: ignore[arg-type]


def test_the_device_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(**values: Any) -> tuple[str, int]:
        request = LayoutRequest.model_validate(values)
        return request.device, request.data

    monkeypatch.setattr(layout_request, "visible_gpus", lambda: 8)
    assert chosen() == ("cuda", 8) and chosen(tensor=2, pipeline=2) == ("cuda", 2)
    assert chosen(engine="native") == ("cuda", 1) and chosen(data=3) == ("cuda", 3)
    assert chosen(device="cpu") == chosen(ray="ray://head:10001") == ("cpu", 2)
    monkeypatch.setattr(layout_request, "visible_gpus", lambda: 0)
    assert chosen() == ("cpu", 2) and chosen(device="cuda") == ("cuda", 2)


def test_the_native_engine_has_one_rank_without_being_told() -> None:
    request = LayoutRequest.model_validate({"engine": "native", "micro_batch": 2})
    assert request.layout() == Layout("native", micro_batch=2)


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ({"data": 3}, {}, "a batch of 8 sequences is not a multiple of micro_batch 4 times 3 data ranks"),
        ({"data": 1, "tensor": 8}, {}, "a column dimension of .* cannot be split into 8 equal parts|heads"),
        ({"data": 1, "tensor": 5}, {}, "cannot be split into 5 equal parts"),
        ({"data": 1, "pipeline": 3}, {}, "2 blocks cannot fill a pipeline of 3 stages"),
        ({}, {"precision": "fp16", "scaler": {}}, "training.precision=fp32 --set training.scaler=null"),
    ],
)
def test_a_run_that_a_layout_does_not_fit_is_told_before_its_launch(
    lake: Lake, tmp_path: Path, values: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    config = small_run(lake, tmp_path / "text", **changes)
    request = LayoutRequest.model_validate(values)
    before = {entry.path for entry in lake.list("runs")}
    with pytest.raises(WrongSetting, match=message):
        create_training_run(lake, replace(config, label="another"), request)
    assert {entry.path for entry in lake.list("runs")} == before, "no run that never can be"
    finish(lake, config.key)
    assert create_training_run(lake, config, request) == config.key, "one that is finished needs no layout"


def test_a_run_without_its_last_checkpoint_is_not_finished(lake: Lake) -> None:
    """Whoever deletes a damaged one is told that it is made again."""
    assert not is_finished(lake, RUN)
    finish(lake, RUN)
    assert is_finished(lake, RUN)
    path = f"{checkpoint_folder(RUN, 100)}/{MANIFEST}"
    lake.write(path, lake.read(path)[:-9])
    assert not is_finished(lake, RUN)
    delete_manifest(lake, RUN, 100)
    assert not is_finished(lake, RUN)


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({"data": 2, "tensor": 2, "pipeline": 2, "micro_batch": 2}, {}),
        ({}, {"precision": "bf16"}),
        ({"engine": "native"}, {"precision": "fp16", "scaler": {}}),
    ],
)
def test_a_run_that_a_layout_fits(lake: Lake, tmp_path: Path, values: dict[str, Any], changes: dict[str, Any]) -> None:
    config = small_run(lake, tmp_path / "text", **changes)
    assert create_training_run(lake, config, LayoutRequest.model_validate(values)) == config.key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "native", "data": 2, "zero": 0}, "native engine is one process"),
        ({"pipeline": 2, "zero": 2}, "needs ZeRO stage 0 or 1"),
        ({"data": 3, "machines": 2, "ray": "auto"}, "3 ranks cannot be shared evenly among 2 machines"),
        ({"data": 4, "machines": 2}, "need a Ray cluster"),
        ({"grace_seconds": 30}, "less than 30"),
        ({"ranks": 2}, "Extra inputs are not permitted"),
    ],
)
def test_layouts_that_cannot_be_run_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        LayoutRequest.model_validate(values)


def test_a_run_that_gets_on_is_started_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is interrupted; a launch that comes to no new checkpoint is for the task's retries."""
    steps, lines = iter([1, 2, 3, 4, 5, 6, 6]), []

    def launch(command: list[str], **_: Any) -> int:
        lake.write(f"runs/{RUN}/checkpoints/step-{next(steps):06d}/manifest.json", b"{}")
        return LEFT_AFTER_SAVING

    monkeypatch.setattr(supervisor, "launch", launch)
    with pytest.raises(TrainingInterrupted, match="asked to exit"):
        train_on(lake, RUN, LAYOUT, lines.append, lambda step, steps: None)
    assert next(steps, None) is None and len(lines) == 6
    assert "it has saved a new checkpoint, so it restarts now" in lines[0]


def test_machines_of_a_ray_cluster_have_their_parts(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = pytest.importorskip("infra.clusters.ray", reason="the extra `ray` is not installed")
    seen: dict[str, Any] = {}

    def launch_on_ray(address: str, wanted: Any, part: Any, **options: Any) -> int:
        seen.update(
            options, address=address, wanted=wanted, command=part(cluster.Place(1, Path("there"), "host:29400"))
        )
        return 0

    monkeypatch.setattr(cluster, "launch_on_ray", launch_on_ray)
    request = LayoutRequest(data=8, machines=2, ray="ray://head:10001", device="cuda", grace_seconds=25)
    train(lake, RUN, request, lambda line: None, lambda step, steps: None)
    assert (seen["address"], seen["wanted"]) == ("ray://head:10001", cluster.Wanted(2, cpus=4, gpus=4))
    expected = launch_command(lake.uri, RUN, request.layout(), Path("there"), Machines(2, 1, "host:29400"), 25)
    assert seen["command"][-2] == "--launch" and seen["command"].pop() and seen["command"].pop()
    assert (seen["command"], seen["grace"]) == (expected, 25)


def test_trackers_are_passed_to_the_ranks_and_refused_where_they_are_not_installed(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def launch(command: list[str], **_: Any) -> int:
        commands.append(command)
        progress(lake, "finished", 100)
        return 0

    monkeypatch.setattr(supervisor, "launch", launch)
    request = LAYOUT.model_copy(update={"trackers": ("wandb", "trackio")})
    train(lake, RUN, request, lambda line: None, lambda step, steps: None)
    [command] = commands
    assert command[command.index("--trackers") + 1] == "wandb,trackio"
    with pytest.raises(pydantic.ValidationError, match="'wandb', 'mlflow' or 'trackio'"):
        LayoutRequest(trackers=("comet",))

    def missing(names: tuple[str, ...]) -> None:
        raise ValueError("the tracker 'wandb' needs the package wandb, which is not installed")

    monkeypatch.setattr(training, "require_installed", missing)
    config = small_run(lake, tmp_path / "text", batch=8)
    with pytest.raises(WrongSetting, match="needs the package wandb"):
        create_training_run(lake, config, LayoutRequest(micro_batch=1, trackers=("wandb",)))
