"""Retention: what stays whole, what is never pruned, and what a kill may leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.store import faults
from infra.store.lake import Lake
from model.checkpoints.manifest import Checkpoint, committed_steps, newest_good, read_checkpoint, verify
from model.checkpoints.retention import Retention, apply_retention
from model.optim.schedule import CheckpointSchedule
from tests.model.support.cuttings import save_steps

FOLDER = "runs/run/checkpoints"


class Killed(BaseException):
    """Stands for SIGKILL inside one process."""


@pytest.fixture
def six(lake: Lake, tmp_path: Path) -> list[Checkpoint]:
    """Whole checkpoints of the steps 0, 2, 4 … 10."""
    return save_steps(lake, tmp_path, *range(0, 12, 2), retention=Retention(full=6))


def whole_steps(lake: Lake) -> list[int]:
    """The committed steps that are whole; each is what it says, and has no other files."""
    checkpoints = [read_checkpoint(lake, "run", step) for step in committed_steps(lake, "run")]
    for checkpoint in checkpoints:
        verify(lake, checkpoint, Path(lake.uri).parent)
        objects = {entry.path.rpartition("/")[2] for entry in lake.list(checkpoint.folder)}
        assert objects == {"manifest.json", *(file.object for file in checkpoint.kept)}
    return [checkpoint.step for checkpoint in checkpoints if not checkpoint.pruned]


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (Retention(), [13, 14]),
        (Retention(full=1), [14]),
        (Retention(full=2, every=4), [0, 4, 8, 12, 13, 14]),
        (Retention(full=3, every=5), [0, 5, 10, 12, 13, 14]),
        (Retention(full=99), list(range(15))),
    ],
)
def test_the_newest_and_every_kth_stay_whole(
    retention: Retention, expected: list[int], lake: Lake, tmp_path: Path
) -> None:
    checkpoints = save_steps(lake, tmp_path, *range(15), retention=retention)
    assert committed_steps(lake, "run") == list(range(15))
    assert whole_steps(lake) == expected
    assert [read_checkpoint(lake, "run", step).digest for step in range(15)] == [one.digest for one in checkpoints]


def test_pythias_schedule(lake: Lake, tmp_path: Path) -> None:
    steps = CheckpointSchedule("pythia", 1000).steps(3000)
    save_steps(lake, tmp_path, *steps, retention=Retention(full=2, every=1000))
    assert committed_steps(lake, "run") == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000]
    assert whole_steps(lake) == [0, 1000, 2000, 3000]


@pytest.mark.parametrize("trusted", [False, True])
def test_only_good_ones_count(trusted: bool, lake: Lake, six: list[Checkpoint], tmp_path: Path) -> None:
    """The newest two have lost bytes since they were written: the two before them are kept."""
    for checkpoint in six[-2:]:
        path = f"{checkpoint.folder}/{checkpoint.files[-1].object}"
        lake.write(path, lake.read(path)[:-1])
    verified = {one.digest for one in six} if trusted else set()
    assert apply_retention(lake, "run", 10, Retention(), verified, tmp_path) == [2, 0]
    newest = newest_good(lake, "run", tmp_path, lambda step, reason: None)
    assert newest == six[3] and newest.step == 6
    assert [read_checkpoint(lake, "run", step).pruned for step in (0, 2, 4, 6, 8, 10)] == [True] * 2 + [False] * 4


def test_the_only_good_one_is_never_pruned(lake: Lake, six: list[Checkpoint], tmp_path: Path) -> None:
    for checkpoint in six[1:]:
        lake.delete(f"{checkpoint.folder}/{checkpoint.files[0].object}")
    assert apply_retention(lake, "run", 10, Retention(full=1), (), tmp_path) == []
    assert newest_good(lake, "run", tmp_path, lambda step, reason: None) == six[0]


def test_a_changed_byte_is_found_unless_it_was_verified(lake: Lake, six: list[Checkpoint], tmp_path: Path) -> None:
    path = f"{six[-1].folder}/{six[-1].files[0].object}"
    data = lake.read(path)
    lake.write(path, data[:-1] + bytes([data[-1] ^ 1]))
    assert apply_retention(lake, "run", 10, Retention(full=5), (), tmp_path) == [], "10 is not good, so all are needed"
    everything = {one.digest for one in six}
    assert apply_retention(lake, "run", 10, Retention(full=5), everything, tmp_path) == [0]


@pytest.mark.parametrize("point", ["retention.before_manifest", "retention.after_manifest"])
def test_a_kill_leaves_each_whole_or_pruned(
    point: str, lake: Lake, six: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reach(reached: str) -> None:
        if reached == point:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(faults, "reach", reach)
        apply_retention(lake, "run", 10, Retention(), (), tmp_path)
    interrupted = read_checkpoint(lake, "run", 6)
    verify(lake, interrupted, tmp_path)
    assert interrupted.pruned == (point == "retention.after_manifest")
    assert interrupted.digest == six[3].digest
    assert newest_good(lake, "run", tmp_path, lambda step, reason: pytest.fail(reason)) == six[-1]
    apply_retention(lake, "run", 10, Retention(), (), tmp_path)
    assert whole_steps(lake) == [8, 10]


def test_files_that_no_manifest_names_go(lake: Lake, six: list[Checkpoint], tmp_path: Path) -> None:
    left = [f"{six[2].folder}/rank-0-weights-{'0' * 16}.safetensors", f"{six[5].folder}/rank-7-killed-1.json"]
    left += [f"{FOLDER}/step-000003/rank-0-state-{'0' * 16}.safetensors"]
    kept = [f"{FOLDER}/step-000011/rank-0-state-{'0' * 16}.safetensors", f"{six[2].folder}/notes.txt"]
    for path in (*left, *kept):
        lake.write(path, b"left")
    apply_retention(lake, "run", 10, Retention(full=6), (), tmp_path)
    there = {entry.path for entry in lake.list(FOLDER)}
    assert not there & set(left), "left by killed saves"
    assert there >= set(kept), "a later step may be being written; other names are not ours"


def test_a_manifest_that_cannot_be_read_is_left_alone(lake: Lake, six: list[Checkpoint], tmp_path: Path) -> None:
    lake.write(f"{six[1].folder}/manifest.json", b"{")
    before = {entry.path for entry in lake.list(six[1].folder)}
    apply_retention(lake, "run", 10, Retention(), (), tmp_path)
    assert {entry.path for entry in lake.list(six[1].folder)} == before


@pytest.mark.parametrize(("full", "every"), [(0, None), (2, 0), (-1, 5)])
def test_values_that_would_lose_a_run(full: int, every: int | None) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Retention(full, every)
