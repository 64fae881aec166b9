"""What a lake says of a run is not believed: no file outside the cache is written, and damaged records end nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.accounting.account import read_accounts
from model.accounting.metrics import read_metrics
from model.checkpoints.files import open_state
from model.checkpoints.manifest import committed_steps, newest_good, read_checkpoint, verify
from model.checkpoints.retention import NEWEST_TWO, apply_retention
from model.observers.losses import Losses, read_losses
from model.observers.records import StepRecord
from model.observers.tensorboard import EventFiles
from model.run.config import read_run
from model.run.events import read_events
from model.supervision.control import Control, ask, read_answer
from model.supervision.heartbeat import read_mark, read_marks, stuck
from model.supervision.logbook import Logbook, read_logbook
from model.supervision.progress import ProgressWriter, read_progress
from tests.infra.store.hostile import tree
from tests.model.support.cuttings import columns_and_intervals, save, savers

DAMAGE = [
    b"", b"{", b"[1]", b"7", b"null", b"\0" * 64, b'{"step": -1}', b"[" * 100_000,
    b'{"surprise": 1}', b'{"launch": 1, "rank": "x", "step": "y", "time": "z"}', b'{"\\ud800": 1}',
]  # fmt: skip
MANIFEST = "runs/run/checkpoints/step-000001/manifest.json"

CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "rank leads out": lambda value: value["files"][0].update(rank="x/../../../../../../victim/EVIL"),
    "rank is true": lambda value: value["files"][0].update(rank=True),
    "rank below 0": lambda value: value["files"][0].update(rank=-1),
    "content leads out": lambda value: value["files"][0].update(content="../../x"),
    "another content": lambda value: value["files"][0].update(content="optimizer"),
    "sha256 leads out": lambda value: value["files"][0].update(sha256="/../../../../x/" + "a" * 49),
    "bytes are a word": lambda value: value["files"][0].update(bytes="1"),
    "slices are null": lambda value: value["files"][0].update(slices=None),
    "a shape below 0": lambda value: value["files"][0]["slices"][0].update(shape=[-1]),
    "a box outside": lambda value: value["files"][0]["slices"][0]["box"].update(start=[10**9]),
    "another kind": lambda value: value["files"][0]["slices"][0].update(kind="third_moment"),
    "step of another": lambda value: value.update(step=2),
    "run of another": lambda value: value.update(run="other"),
    "run leads out": lambda value: value.update(run="../../x"),
    "parent is no digest": lambda value: value.update(parent="../x"),
    "trainer is a list": lambda value: value.update(trainer=[]),
    "trainer without end": lambda value: value.update(trainer={"x": json.loads("[" * 900 + "]" * 900)}),
    "aside is a word": lambda value: value.update(aside="no"),
    "no files": lambda value: value.pop("files"),
    "another format": lambda value: value.update(format=99),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_manifest_of_an_attacker_is_corrupt_and_writes_nothing(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], object]
) -> None:
    """With a digest that fits, as an attacker computes it, and a store whose files must be copied."""
    victim = tmp_path / "victim"
    victim.mkdir()
    save(savers(lake, tmp_path, 2), 1, columns_and_intervals(1, 2))
    monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    monkeypatch.setattr(Lake, "download", lambda self, path, local: Path(local).write_bytes(b"EVIL"))
    values = lake.read_json(MANIFEST)
    change(values)
    identity = {name: value for name, value in values.items() if name not in ("format", "digest", "pruned")}
    lake.write(MANIFEST, json.dumps({**values, "digest": key_of(identity)}).encode())
    reports: list[str] = []
    assert newest_good(lake, "run", tmp_path / "cache", lambda step, reason: reports.append(reason)) is None
    assert len(reports) == 1 and MANIFEST in reports[0] and "\n" not in reports[0]
    assert tree(victim) == {} and not list(tmp_path.rglob("*EVIL*"))


def test_a_file_gets_its_name_when_it_is_verified(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save(savers(lake, tmp_path, 2), 1, columns_and_intervals(1, 2))
    monkeypatch.setattr(Lake, "local_path", lambda self, path: None)
    download, seen = Lake.download, []

    def look(self: Lake, path: str, local: Path) -> None:
        seen.append(local.name)
        download(self, path, local)

    monkeypatch.setattr(Lake, "download", look)
    verify(lake, checkpoint, tmp_path / "cache")
    with open_state(lake, checkpoint, tmp_path / "cache") as state:
        state.random_streams(0)
    assert len(seen) > 2 and all(name.startswith("unverified-") for name in seen)
    assert len(set(seen)) == len(seen)


def test_foreign_objects_among_checkpoints_are_left_alone(lake: Lake, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(savers(lake, tmp_path, 1), step, columns_and_intervals(1, 1))
    foreign = [
        "runs/run/checkpoints/notes.txt",
        "runs/run/checkpoints/step-x/manifest.json",
        "runs/run/checkpoints/step-9/manifest.json",
        "runs/run/checkpoints/step--00001/rank-0.safetensors",
        "runs/run/checkpoints/step-000001/deep/manifest.json",
    ]
    for path in foreign:
        lake.write(path, b"x")
    assert committed_steps(lake, "run") == [1, 2, 3]
    apply_retention(lake, "run", 3, NEWEST_TWO, (), tmp_path / "cache")
    assert all(lake.size(path) == 1 for path in foreign)


@pytest.mark.parametrize("text", DAMAGE)
def test_damaged_records_of_a_run_end_nothing(lake: Lake, tmp_path: Path, text: bytes) -> None:
    """They are logged, and what their writers write next is read again."""
    Logbook(lake, "run", "launch", 0).write("launch", 0, torch="2")
    for path in (
        "runs/run/progress.json",
        "runs/run/heartbeat/0.json",
        "runs/run/account/a.json",
        "runs/run/logbook/000002-launch-0-error.json",
        "runs/run/logbook/notes",
        "runs/run/control/requests/x.json",
        "runs/run/control/answers/y.json",
        "runs/run/tensorboard/notes.txt",
        "runs/run/losses/notes.jsonl",
        "runs/run/losses/step-x.jsonl",
    ):
        lake.write(path, text)
    assert read_progress(lake, "run") is None
    assert read_mark(lake, "run", 0) is None and read_marks(lake, "run") == []
    assert [one.rank for one in stuck(lake, "run", 1, 0.0, 1.0, 10.0)] == [0]
    assert read_accounts(lake, "run") == []
    assert [event["event"] for event in read_logbook(lake, "run")] == ["launch"]
    assert read_answer(lake, "run", "y") is None
    request = ask(lake, "run", "save_now", "a person")
    clock = iter(range(100))
    assert Control(lake, "run", "launch", lambda: float(next(clock))).poll(0) == [request]
    assert (answer := read_answer(lake, "run", "x")) is not None and answer.outcome == "refused"
    EventFiles(lake, "run").begin(0)
    losses = Losses(lake, "run")
    losses.begin(0)
    losses.on_step_end(StepRecord(1, 1.0, 1.0, 0.1, 10, "x", 0, 0.1))
    losses.flush()
    assert [record.step for record in read_losses(lake, "run")] == [1]
    Logbook(lake, "run", "launch", 0).write("resume", 0)
    assert [event["event"] for event in read_logbook(lake, "run")] == ["launch", "resume"]
    ProgressWriter(lake, "run", 10, "launch").write("training", 1, 1.0, 10, None)
    assert (progress := read_progress(lake, "run")) is not None and progress.step == 1


@pytest.mark.parametrize("text", DAMAGE)
@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("runs/run/run.json", read_run),
        ("runs/run/events/000001-x.json", read_events),
        ("runs/run/losses/tail.jsonl", read_losses),
        ("runs/run/metrics/tail.jsonl", read_metrics),
        (MANIFEST, lambda lake, run: read_checkpoint(lake, run, 1)),
    ],
)
def test_what_decides_a_run_is_corrupt_when_it_is_damaged(
    lake: Lake, path: str, read: Callable[[Lake, str], object], text: bytes
) -> None:
    """Its effect is unknown; the error names the object."""
    lake.write(path, text)
    if not text and path.endswith(".jsonl"):
        assert read(lake, "run") == []
        return
    with pytest.raises(Corrupt, match=path.rpartition("/")[0]) as caught:
        read(lake, "run")
    assert "\n" not in str(caught.value)
