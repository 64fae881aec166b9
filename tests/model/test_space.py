"""Disk space: what is predicted is what is written, and a run that will not fit is refused before it begins."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.store import faults
from infra.store.errors import StoreFull
from infra.store.lake import Lake
from model.checkpoints import space
from model.checkpoints.manifest import committed_steps, read_checkpoint
from model.checkpoints.retention import Retention
from model.checkpoints.space import cache_bytes, checkpoint_bytes, require_space
from model.optim.schedule import CheckpointSchedule
from tests.model.support.cuttings import PARAMETERS, save_steps

GIGABYTE = 10**9


def tensor_bytes(lake: Lake) -> int:
    checkpoints = (read_checkpoint(lake, "run", step) for step in committed_steps(lake, "run"))
    slices = (one for checkpoint in checkpoints for file in checkpoint.kept for one in file.slices)
    return sum(4 * math.prod(one.box.shape) for one in slices)


@pytest.mark.parametrize(
    "retention", [Retention(), Retention(full=1), Retention(full=3, every=2), Retention(every=3), Retention(full=50)]
)
@pytest.mark.parametrize("steps", [range(9), (0, 1, 2, 4, 8, 9, 12), (0,)])
def test_the_prediction_is_exact(
    steps: range | tuple[int, ...], retention: Retention, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most that lies there is between a commit and the pruning after it."""
    found: list[int] = []
    monkeypatch.setattr(
        faults,
        "reach",
        lambda point: found.append(tensor_bytes(lake)) if point == "checkpoint.after_manifest" else None,
    )
    save_steps(lake, tmp_path, *steps, retention=retention)
    assert max(found) == checkpoint_bytes(PARAMETERS, steps, retention)


def test_pythia_12b() -> None:
    """154 checkpoints, all with weights and three with moments: 7.6 TB."""
    steps = CheckpointSchedule("pythia", 1000).steps(143_000)
    assert checkpoint_bytes(11_846_072_320, steps, Retention()) == 11_846_072_320 * (154 * 4 + 3 * 8)
    # 0, 50,000 and 100,000 stay whole for good, and three more are whole until the oldest of them is pruned.
    assert checkpoint_bytes(1, steps, Retention(every=50_000)) == 154 * 4 + (3 + 3) * 8


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The free space of every disk, and whether lake and cache are on one."""
    world = SimpleNamespace(bytes=0, one_disk=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=world.bytes))
    monkeypatch.setattr(space, "_disk", lambda path: 0 if world.one_disk else hash(path))
    yield world


def test_a_run_that_does_not_fit_is_refused(free: SimpleNamespace, lake: Lake, tmp_path: Path) -> None:
    arguments = (lake, "run", tmp_path / "not yet" / "there", 10**9, range(5), Retention(), 2)
    needed = checkpoint_bytes(10**9, range(5), Retention())
    assert needed == (5 * 4 + 3 * 8) * GIGABYTE
    free.bytes = needed + cache_bytes(10**9, 2, remote=False) - 1
    with pytest.raises(
        StoreFull, match=r"lake, with the cache on the same disk.* 52.000 GB free.* need 52.000 GB more"
    ):
        require_space(*arguments)
    free.bytes += 1
    require_space(*arguments)

    free.one_disk, free.bytes = False, needed - 1
    with pytest.raises(StoreFull, match=r"the lake at .* keep fewer checkpoints whole"):
        require_space(*arguments)
    free.bytes = needed
    require_space(*arguments)


def test_steps_of_another_run_do_not_count(free: SimpleNamespace, lake: Lake, tmp_path: Path) -> None:
    """Pythia-12b from step 141,000: what it begins with and two more, where a whole run has 154 checkpoints."""
    steps = CheckpointSchedule("pythia", 1000).steps(143_000)
    free.one_disk, free.bytes = False, (3 * 4 + 3 * 8) * GIGABYTE
    require_space(lake, "run", tmp_path, 10**9, steps, Retention(), 1, 141_000)
    # Also from a step that the schedule does not have.
    require_space(lake, "run", tmp_path, 10**9, steps, Retention(), 1, 141_500)
    free.bytes -= 1
    with pytest.raises(StoreFull, match=r"36\.000 GB more"):
        require_space(lake, "run", tmp_path, 10**9, steps, Retention(), 1, 141_000)


def test_what_is_stored_already_counts(free: SimpleNamespace, lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    steps = range(4)
    free.one_disk, free.bytes = False, checkpoint_bytes(PARAMETERS, steps, Retention()) - 1
    with pytest.raises(StoreFull):
        require_space(lake, "run", tmp_path / "cache", PARAMETERS, steps, Retention(), 1)
    save_steps(lake, tmp_path / "cache", 0, 1)
    require_space(lake, "run", tmp_path / "cache", PARAMETERS, steps, Retention(), 1)


def test_of_a_remote_lake_only_the_cache_is_asked(free: SimpleNamespace, tmp_path: Path) -> None:
    remote = Lake("s3://bucket/lake")
    free.bytes = cache_bytes(10**9, 4, remote=True)
    assert free.bytes == (8 + 4 * 4) * GIGABYTE
    require_space(remote, "run", tmp_path, 10**9, range(1000), Retention(), 4)
    free.bytes -= 1
    with pytest.raises(StoreFull, match=r"the cache at .* 24\.000 GB more"):
        require_space(remote, "run", tmp_path, 10**9, range(1000), Retention(), 4)


def test_a_real_disk_has_room_for_a_small_run(lake: Lake, tmp_path: Path) -> None:
    require_space(lake, "run", tmp_path / "cache", PARAMETERS, range(10), Retention(), 1)
    with pytest.raises(StoreFull):
        require_space(lake, "run", tmp_path / "cache", 10**15, range(10), Retention(), 1)
