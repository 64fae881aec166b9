"""Mutated objects of a lake: every reader gives a value or says what is damaged, and nothing outside is touched."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.audit import forget_artifact, verify_artifact
from infra.store.errors import Corrupt, NotThere, StoreError
from infra.store.garbage import plan_sweep, sweep
from infra.store.inputs import pinned_inventory, take_inventory
from infra.store.lake import Lake
from infra.store.lease import lease
from infra.store.manifest import fetch_part, manifest_at, read_manifest, read_marker
from infra.store.names import Reference, all_names, point
from model.accounting.account import read_accounts
from model.checkpoints.manifest import committed_steps, newest_good
from model.checkpoints.retention import NEWEST_TWO, apply_retention
from model.observers.losses import Losses, read_losses
from model.observers.records import StepRecord
from model.run.events import Change, Course, read_events, record
from model.supervision.control import Control, ask, read_answer
from model.supervision.heartbeat import Heartbeat, read_marks
from model.supervision.logbook import Logbook, read_logbook
from model.supervision.progress import ProgressWriter, read_progress
from tasks.builds import BuildRecord, all_builds, disagreements, find_build, manifests_of, write_build
from tasks.forecast.record import find_forecast
from tasks.forecast.record import keep as keep_forecast
from tasks.roots import find_roots
from tasks.runs import read_run_record
from tests.infra.store.hostile import KEY, artifact, evil_part, store, tree
from tests.model.support.cuttings import columns_and_intervals, save, savers
from tests.tasks.forecast.test_record import KEY as FORECAST
from tests.tasks.forecast.test_record import forecast

RUN = "run"
EXAMPLES = 250
pytestmark = pytest.mark.heavy

words = st.sampled_from(
    ["", "..", "../../victim/x", "/etc/passwd", "a" * 64, "A" * 64, "\0", "\ud800", ".bin", "[/red]", "2026", "x" * 500]
)
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none())
values = st.recursive(
    st.one_of(words, numbers, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)


class Ends:
    """A lake with one object of each kind, beside a folder of victims."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.victim = folder, folder / "victim"
        self.victim.mkdir()
        (self.victim / "x").write_text("precious")
        (folder / "input").write_bytes(b"x")
        self.lake = lake = Lake.open(str(folder / "lake"))
        parts = [store(lake, folder / "own", name.encode(), name) for name in ("one.bin", "two.bin")]
        evidence = {"reduce": [evil_part(sha256=parts[1].sha256, content=parts[1].content, bytes=parts[1].bytes)]}
        made = artifact(lake, parts[0], evidence=evidence, markers=[KEY], files=[])
        self.manifest = made
        counts: dict[str, Any] = {"ledger": [], "source_ledgers": {}, "documents": 0, "tokens": 1}
        self.build = BuildRecord.make({"sources": {"web": {"inputs": []}}}, {"tokens": made}, **counts)
        write_build(lake, self.build)
        point(lake, "corpus/x", Reference("build", self.build.key, self.build.digest))
        pinned_inventory(lake, [str(folder / "input")], "pin")
        save(savers(lake, folder, 1), 1, columns_and_intervals(1, 1))
        source = {"name": "web", "weight": 1.0, "epochs": 1, "bin": evil_part(), "idx": evil_part(suffix=".idx")}
        run = {"format": 3, "model": {"architecture": "toy"}, "training": {"steps": 1}, "seed": 1, "sources": [source]}
        lake.write_json(f"runs/{RUN}/run.json", run)
        Logbook(lake, RUN, "launch", 0).write("launch", 0)
        ProgressWriter(lake, RUN, 10, "launch").write("training", 1, 1.0, 10, None)
        heartbeat = Heartbeat(lake, RUN, 0, "launch")
        heartbeat.beat(1, "data")
        heartbeat.write()
        record(lake, RUN, "launch", Course(8), Change(1, "why", "who", clip=1.0))
        Control(lake, RUN, "launch").answer(ask(lake, RUN, "save_now", "who").id, 1, "done")
        ask(lake, RUN, "stop", "who")
        losses = Losses(lake, RUN)
        losses.on_step_end(StepRecord(1, 1.0, 1.0, 0.1, 10, "x", 0, 0.1))
        losses.flush()
        keep_forecast(lake, forecast())
        self.paths = sorted(entry.path for entry in lake.list("") if entry.path.endswith((".json", ".jsonl")))
        self.pristine = folder / "pristine"
        shutil.copytree(lake.uri, self.pristine)

    def restore(self) -> None:
        """The lake as it was."""
        shutil.rmtree(self.lake.uri)
        shutil.copytree(self.pristine, self.lake.uri)

    def readers(self) -> list[Callable[[], object]]:
        """Everything that reads the lake, and what deletes in it, last."""
        lake, cache = self.lake, self.folder / "cache"
        files = [str(self.folder / "input")]

        def verify() -> None:
            build = find_build(lake, "corpus/x")
            made, _ = manifests_of(lake, build)
            list(disagreements(lake, build, made))
            for manifest in made.values():
                faults = verify_artifact(lake, manifest, cache, lambda *_: None)
                forget_artifact(lake, manifest, faults)

        def collect() -> None:
            sweep(lake, plan_sweep(lake, find_roots, 0), find_roots)

        def fetch() -> None:
            for part in manifest_at(lake, self.manifest.path).all_parts():
                fetch_part(lake, part, cache)

        return [
            lambda: Lake.open(lake.uri),
            lambda: read_manifest(lake, "toy", KEY),
            lambda: read_manifest(lake, "toy", KEY, keep=True),
            lambda: read_marker(lake, "toy", KEY),
            fetch,
            lambda: list(all_names(lake)),
            lambda: list(all_builds(lake)),
            lambda: take_inventory(lake, files),
            lambda: pinned_inventory(lake, files, "pin"),
            lambda: find_forecast(lake, FORECAST),
            lambda: read_run_record(lake, RUN),
            lambda: read_logbook(lake, RUN),
            lambda: read_progress(lake, RUN),
            lambda: read_marks(lake, RUN),
            lambda: read_accounts(lake, RUN),
            lambda: read_events(lake, RUN),
            lambda: read_losses(lake, RUN),
            lambda: read_answer(lake, RUN, "x"),
            lambda: Control(lake, RUN, "other").poll(1),
            lambda: committed_steps(lake, RUN),
            lambda: newest_good(lake, RUN, cache, lambda *_: None),
            lambda: apply_retention(lake, RUN, 1, NEWEST_TWO, (), cache),
            lambda: lease(lake, "x", lambda: None).__enter__(),
            verify,
            collect,
        ]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    return Ends(tmp_path_factory.mktemp("fuzz"))


def mutate(value: Any, data: st.DataObject) -> Any:
    """`value` with one change somewhere in it."""
    value = copy.deepcopy(value)
    inside: Any = {"": value}
    step: Any = ""
    while isinstance(inside[step], (dict, list)) and inside[step] and data.draw(st.integers(0, 4)):
        inside = inside[step]
        steps = sorted(inside) if isinstance(inside, dict) else list(range(len(inside)))
        step = data.draw(st.sampled_from(steps))
    how = data.draw(st.sampled_from(["replace", "delete", "add", "twice"]))
    if how == "replace" or step == "":
        if step == "":
            return data.draw(values)
        inside[step] = data.draw(values)
    elif how == "delete":
        del inside[step]
    elif isinstance(inside, dict):
        inside[data.draw(words)] = data.draw(values)
    else:
        inside.append(inside[step] if how == "twice" else data.draw(values))
    return value


def check(ends: Ends, path: str, text: bytes) -> None:
    """Give the object at `path` another text, and read everything."""
    outside = tree(ends.victim)
    (Path(ends.lake.uri) / path).write_bytes(text)
    try:
        for act in ends.readers():
            try:
                act()
            except (Corrupt, NotThere) as error:
                assert len(str(error)) < 2000
            except StoreError as error:
                assert "is a lake of format" in str(error), error
        assert tree(ends.victim) == outside
        assert {path.name for path in ends.folder.iterdir()} <= ALLOWED
    finally:
        ends.restore()


ALLOWED = {"victim", "input", "lake", "own", "pristine", "cache", f"saving-{RUN}-rank-0"}
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@QUIET
@given(st.data())
def test_a_changed_value_in_any_object(ends: Ends, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(ends.paths))
    value = json.loads((ends.pristine / path).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        value = mutate(value, data)
    check(ends, path, json.dumps(value).encode())


@QUIET
@given(st.data())
def test_changed_bytes_in_any_object(ends: Ends, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(ends.paths))
    text = bytearray((ends.pristine / path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        first = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(first, min(len(text), first + 16)))
        text[first:stop] = data.draw(st.binary(max_size=4))
    check(ends, path, bytes(text[: data.draw(st.integers(0, len(text)))] if data.draw(st.booleans()) else text))


def test_an_unchanged_lake_is_read(ends: Ends) -> None:
    """So that the other tests read what they think they read."""
    for act in ends.readers()[:-2]:
        act()
    ends.restore()
    assert len(ends.paths) >= 14 and os.path.exists(ends.victim / "x")
