"""Background saving: what training may do meanwhile, what other ranks and killed launches may have left, and errors.

In the kill test every rank is a process of its own and the kills are real; the moments are places in the program.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from infra.store import faults
from infra.store.errors import Corrupt, StoreError, StoreFull
from infra.store.lake import Lake
from model.checkpoints import saving
from model.checkpoints.files import open_state
from model.checkpoints.manifest import MANIFEST, Checkpoint, committed_steps, newest_good, read_checkpoint, verify
from model.checkpoints.retention import Retention
from model.checkpoints.saving import Saver
from model.state.boxes import whole
from tests.model.support.cuttings import (
    columns_and_intervals,
    cut,
    save,
    save_steps,
    savers,
    state_at,
    streams_at,
    uncut,
)

BOXES = columns_and_intervals(2, 1)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Closed, it holds back the thread at the first point of a save."""
    opened = Event()

    def reach(point: str) -> None:
        if point == "checkpoint.before_weights":
            assert opened.wait(60)

    monkeypatch.setattr(faults, "reach", reach)
    yield opened
    opened.set()


def begin(saver: Saver, step: int) -> None:
    saver.begin(step, cut(state_at(step), uncut())[0], streams_at(step, 0), {"step": step})


def test_training_goes_on_while_the_copy_is_written(gate: Event, lake: Lake, tmp_path: Path) -> None:
    state, streams, trainer = state_at(4), streams_at(4, 0), {"losses": [1.0]}
    (saver,) = savers(lake, tmp_path)
    saver.begin(4, cut(state, uncut())[0], streams, trainer)
    for values in (*state.values(), *streams.values()):
        values.zero_()  # the next update, as it were
    trainer["losses"].append(2.0)
    assert saver.poll() == [] and committed_steps(lake, "run") == []
    gate.set()
    (checkpoint,) = saver.finish()
    assert saver.poll() == [] and read_checkpoint(lake, "run", 4) == checkpoint
    assert checkpoint.trainer == {"losses": [1.0]}
    with open_state(lake, checkpoint, tmp_path) as reader:
        for (name, kind), values in state_at(4).items():
            assert torch.equal(reader.read(name, kind, whole(tuple(values.shape))), values)
        stored = reader.random_streams(0)
    assert stored is not None and torch.equal(stored["cpu"], streams_at(4, 0)["cpu"])


def test_one_save_at_a_time(lake: Lake, tmp_path: Path) -> None:
    (saver,) = savers(lake, tmp_path)
    for step in (0, 4, 8):
        begin(saver, step)
        assert set(range(0, step, 4)) <= set(committed_steps(lake, "run")), "the save before has ended"
    assert [one.step for one in saver.finish()] == [0, 4, 8]
    parents = [read_checkpoint(lake, "run", step).parent for step in (0, 4, 8)]
    assert parents == ["", *(read_checkpoint(lake, "run", step).digest for step in (0, 4))]


def test_half_precision_is_stored_in_full(lake: Lake, tmp_path: Path) -> None:
    state = {what: values.bfloat16() for what, values in state_at(1).items()}
    (saver,) = savers(lake, tmp_path)
    saver.begin(1, cut(state, uncut())[0], streams_at(1, 0), {})
    (checkpoint,) = saver.finish()
    with open_state(lake, checkpoint, tmp_path) as reader:
        for (name, kind), values in state.items():
            found = reader.read(name, kind, whole(tuple(values.shape)))
            assert found.dtype == torch.float32 and torch.equal(found, values.float())


def test_a_trainer_state_that_is_not_plain_is_refused_at_once(lake: Lake, tmp_path: Path) -> None:
    (saver,) = savers(lake, tmp_path)
    with pytest.raises(TypeError, match=r"value\.scale is a Tensor"):
        saver.begin(1, [], {}, {"scale": torch.ones(())})
    with pytest.raises(ValueError, match=r"value\.loss is nan"):
        saver.begin(1, [], {}, {"loss": float("nan")})


@pytest.mark.parametrize("asked", ["begin", "poll", "finish"])
def test_an_error_of_the_thread_is_raised_in_training(
    asked: str, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (saver,) = savers(lake, tmp_path)

    def full(self: Lake, local: Path, path: str) -> None:
        raise StoreFull("no space is left")

    monkeypatch.setattr(Lake, "upload", full)
    begin(saver, 4)
    saver._save.thread.join()  # type: ignore[union-attr]
    with pytest.raises(StoreFull, match="saving the checkpoint of step 4: no space is left"):
        {"begin": lambda: begin(saver, 8), "poll": saver.poll, "finish": saver.finish}[asked]()
    assert committed_steps(lake, "run") == []
    with pytest.raises(StoreFull):
        saver.finish()


def test_what_the_store_changed_is_not_committed(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Lake.upload

    def flip(self: Lake, local: Path, path: str) -> None:
        original(self, local, path)
        data = self.read(path)
        self.write(path, data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(Lake, "upload", flip)
    (saver,) = savers(lake, tmp_path)
    begin(saver, 4)
    with pytest.raises(Corrupt, match=r"step 4.*the file is changed or truncated"):
        saver.finish()
    assert committed_steps(lake, "run") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_of_anything_else_is_told(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(saving, "write_file", broken)
    (saver,) = savers(lake, tmp_path)
    begin(saver, 4)
    with pytest.raises(RuntimeError, match="step 4: its thread died"):
        saver.finish()


def test_a_rank_that_never_comes_is_not_waited_for_after_the_end(lake: Lake, tmp_path: Path) -> None:
    """Rank 1 never saves: rank 0 waits until it is closed, and nothing is committed."""
    leading, _ = savers(lake, tmp_path, 2)
    leading.begin(4, cut(state_at(4), BOXES)[0], streams_at(4, 0), {})
    assert leading.poll() == []
    leading.close()
    with pytest.raises(RuntimeError, match="step 4 was abandoned"):
        leading.poll()
    assert committed_steps(lake, "run") == []


def test_what_an_earlier_launch_left_is_not_taken(lake: Lake, tmp_path: Path) -> None:
    """Rank 1 of a killed launch left its files and its sidecar of another state at the same step."""
    killed = savers(lake, tmp_path, 2, launch="killed")
    killed[1].begin(4, cut(state_at(99), BOXES)[1], streams_at(99, 1), {})
    killed[1].finish()
    assert any(entry.path.endswith(".json") for entry in lake.list("runs/run/checkpoints"))

    leading, other = savers(lake, tmp_path, 2, launch="ours")
    leading.begin(4, cut(state_at(4), BOXES)[0], streams_at(4, 0), {})
    assert leading.poll() == []
    other.begin(4, cut(state_at(4), BOXES)[1], streams_at(4, 1), {})
    other.finish()
    (checkpoint,) = leading.finish()
    assert_state(lake, checkpoint, tmp_path)
    left = {entry.path for entry in lake.list("runs/run/checkpoints")}
    assert left == {f"{checkpoint.folder}/{name}" for name in (MANIFEST, *(file.object for file in checkpoint.files))}


def test_a_step_that_is_saved_again_in_one_launch(lake: Lake, tmp_path: Path) -> None:
    """As after a roll-back: the checkpoint of the state that was given up goes before anything else is written."""
    launched = savers(lake, tmp_path, 2)
    first, given_up = save(launched, 4, BOXES), save(launched, 8, BOXES)
    for saver in launched:
        state = state_at(80)
        saver.begin(8, cut(state, BOXES)[saver.rank], streams_at(80, saver.rank), {}, first.digest)
    launched[1].finish()
    (again,) = launched[0].finish()
    assert again.parent == given_up.parent and again.digest != given_up.digest
    assert read_checkpoint(lake, "run", 8) == again
    later = save(launched, 12, BOXES)
    assert later.parent == again.digest


def test_one_saved_out_of_turn_is_nobodys_parent(lake: Lake, tmp_path: Path) -> None:
    """A run has the same checkpoints whether or not somebody asked for one between them."""
    first, second = save_steps(Lake.open(str(tmp_path / "undisturbed")), tmp_path, 0, 4)
    (saver,) = savers(lake, tmp_path)
    assert save([saver], 0) == first
    saver.begin(2, cut(state_at(2), uncut())[0], streams_at(2, 0), {}, ephemeral=True)
    (between,) = saver.finish()
    assert between.parent == first.digest and save([saver], 4) == second


def test_an_old_manifest_goes_first(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(lake, tmp_path, 4, 8)
    at_first: list[list[int]] = []
    monkeypatch.setattr(
        faults,
        "reach",
        lambda point: at_first.append(committed_steps(lake, "run")) if point == "checkpoint.before_weights" else None,
    )
    save_steps(lake, tmp_path, 8, launch="again")
    assert at_first == [[4]] and committed_steps(lake, "run") == [4, 8]


def test_what_a_killed_launch_left_in_the_cache_goes(lake: Lake, tmp_path: Path) -> None:
    (saver,) = savers(lake, tmp_path / "cache")
    left = saver._scratch / "tmpabc" / "written"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    save_steps(lake, tmp_path / "cache", 4)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def assert_state(lake: Lake, checkpoint: Checkpoint, cache: Path) -> None:
    with open_state(lake, checkpoint, cache) as reader:
        for (name, kind), values in state_at(checkpoint.step).items():
            assert torch.equal(reader.read(name, kind, whole(tuple(values.shape))), values)


STEPS = range(0, 40, 4)
RETENTION = Retention(full=2, every=16)


@dataclass(frozen=True)
class Moment:
    """Kill `rank` when it reaches the point for the `count`-th time in this launch."""

    point: str
    rank: int
    count: int


MOMENTS = [
    Moment("checkpoint.before_weights", 0, 1),
    Moment("inside_part", 1, 1),
    Moment("checkpoint.before_state", 1, 1),
    Moment("checkpoint.before_manifest", 0, 1),
    Moment("checkpoint.after_manifest", 0, 1),
    Moment("checkpoint.before_sidecar", 1, 2),
    Moment("checkpoint.after_sidecar", 1, 1),
    Moment("inside_part", 0, 4),
    Moment("retention.before_manifest", 0, 1),
    Moment("retention.after_manifest", 0, 1),
    Moment("checkpoint.before_manifest", 0, 2),
    Moment("checkpoint.after_manifest", 0, 1),
]


def live(uri: str, rank: int, launch: str, cache: str, environment: dict[str, str], begun: int, parent: str) -> None:
    """One rank of a launch: saves the steps after `begun`, and trains for no time between them."""
    os.environ.update(environment)
    saver = Saver(Lake(uri), "run", rank, 2, launch, Path(cache), RETENTION)
    known: str | None = parent
    for step in STEPS:
        if step > begun:
            saver.begin(step, cut(state_at(step), BOXES)[rank], streams_at(step, rank), {"step": step}, known)
            known = None
    saver.finish()


def launch(lake: Lake, number: int, folder: Path, moment: Moment | None) -> None:
    """Both ranks, from the newest good checkpoint on; when one dies, the other is killed with it."""
    newest = newest_good(lake, "run", folder, lambda step, reason: pytest.fail(reason))
    begun, parent = (-1, "") if newest is None else (newest.step, newest.digest)
    processes = []
    for rank in range(2):
        environment: dict[str, str] = {}
        if moment is not None and moment.rank == rank:
            (folder / str(number)).mkdir()
            environment = {
                "MILLRACE_FAULT": f"{moment.point}:{moment.count}",
                "MILLRACE_FAULT_FOLDER": str(folder / str(number)),
                "MILLRACE_FAULT_TARGET": "process",
            }
        arguments = (lake.uri, rank, f"launch {number}", str(folder / "cache"), environment, begun, parent)
        # Forked, as importing torch would take longer than all the rest; it computes nothing large enough for threads.
        processes.append(multiprocessing.get_context("fork").Process(target=live, args=arguments))
    for process in processes:
        process.start()
    running = list(processes)
    while running:
        wait([process.sentinel for process in running])
        # Asked once: a process that has just died may have no exit status yet.
        ended = {process: process.exitcode for process in running}
        if any(ended.values()):
            for process in running:
                process.kill()
        running = [process for process, code in ended.items() if code is None]
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    if moment is None:
        assert codes == [0, 0]
    else:
        assert codes[moment.rank] == -signal.SIGKILL, f"{moment} was not reached"


def test_killed_at_every_point(tmp_path: Path) -> None:
    unbroken, killed = Lake.open(str(tmp_path / "unbroken")), Lake.open(str(tmp_path / "killed"))
    (tmp_path / "folder").mkdir()
    launch(unbroken, 0, tmp_path / "folder", None)
    newest = -1
    for number, moment in enumerate(MOMENTS, start=1):
        launch(killed, number, tmp_path / "folder", moment)
        steps = committed_steps(killed, "run")
        checkpoints = [read_checkpoint(killed, "run", step) for step in steps]
        for checkpoint in checkpoints:
            verify(killed, checkpoint, tmp_path)
        whole_ones = [one.step for one in checkpoints if not one.pruned]
        assert whole_ones[-2:] == steps[-2:], f"{moment}: the newest two are whole"
        assert newest <= (newest := steps[-1] if steps else -1), f"{moment} lost a checkpoint"
    assert -1 < newest < STEPS[-1], "some kills came before the first checkpoint, and all before the last"
    launch(killed, len(MOMENTS) + 1, tmp_path / "folder", None)

    found = [[read_checkpoint(lake, "run", step) for step in STEPS] for lake in (unbroken, killed)]
    assert found[0] == found[1]
    assert [one.step for one in found[1] if not one.pruned] == [0, 16, 32, 36]
    objects = [{entry.path for entry in lake.list("runs")} for lake in (unbroken, killed)]
    assert objects[0] == objects[1], "what the kills left is gone"
    for checkpoint in found[1][-2:]:
        assert_state(killed, checkpoint, tmp_path)


def test_a_resumed_run_that_forgets_its_parent_is_seen(lake: Lake, tmp_path: Path) -> None:
    """Negative control of the comparison above."""
    unbroken = save_steps(lake, tmp_path, 0, 4)[-1]
    other = Lake.open(str(tmp_path / "other"))
    save_steps(other, tmp_path, 0)
    forgetful = save_steps(other, tmp_path, 4, launch="resumed")[-1]
    assert forgetful != unbroken and replace(forgetful, parent=unbroken.parent) == unbroken


def test_store_errors_can_be_raised_anew() -> None:
    """`_settle` makes an error of the same kind from a message alone."""
    for kind in StoreError.__subclasses__():
        assert str(kind("step 4: why")) == "step 4: why"
