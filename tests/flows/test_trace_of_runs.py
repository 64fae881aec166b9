"""`millrace trace` of runs that were really trained: batch for batch what the model was given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner, Result

from flows.cli.trace import trace
from infra.store.digests import sha256_file
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, Part, store_part, write_manifest
from infra.store.tokens import TokenFile
from model.checkpoints.manifest import read_checkpoint
from model.checkpoints.manifest import write_manifest as write_manifest_of
from model.engine.native import NativeEngine
from model.order import write_rows
from model.run.config import RunConfig, create_run, run_config
from model.run.data import open_order
from model.run.events import SkipData, read_events, record
from tasks.lineage import LINEAGE_SCHEMA, LINEAGE_SUFFIX
from tasks.tracing.tracer import Tracer
from tests.model.support.small import SHAPES, VOCABULARY, small_run, store_tokens, training_values, write_text
from tests.model.support.trained import going_on_from, train_here

STEPS = 8
application = typer.Typer()
application.command()(trace)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """Of every step that is taken the sequences that the engine gets."""
    batches: list[list[list[int]]] = []
    accumulate = NativeEngine.accumulate

    def noting(engine: NativeEngine, micro_batches: list[Tensor]) -> float:
        batches.append(torch.cat(list(micro_batches)).tolist())
        return accumulate(engine, micro_batches)

    monkeypatch.setattr(NativeEngine, "accumulate", noting)
    return batches


def ask(lake: Lake, config: RunConfig, *arguments: str) -> Result:
    return CliRunner().invoke(application, [config.key[:12], "--lake", lake.uri, *arguments])


def told(lake: Lake, config: RunConfig, *arguments: str) -> dict[str, Any]:
    done = ask(lake, config, *arguments, "--json")
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def leave_out(lake: Lake, config: RunConfig, step: int, first: int, stop: int) -> None:
    course = config.course(read_events(lake, config.key))
    record(lake, config.key, "launch", course, SkipData(step, "bad data", "me", first, stop))


def made(lake: Lake, folder: Path, order: str) -> RunConfig:
    """A run of two sources; for rows, of one file of what those give."""
    config = small_run(lake, folder / "text", steps=STEPS, compat="neox" if order == "neox" else None, epochs=2)
    if order != "rows":
        return config
    rows = folder / "rows.bin"
    write_rows(open_order(lake, config, folder / "cache"), range(100), rows, VOCABULARY)
    source = store_tokens(lake, rows, rows.with_suffix(".idx"), "rows")
    made = run_config(
        {**config.to_plain(), "training": training_values(steps=STEPS, compat="rows"), "sources": [source]}
    )
    create_run(lake, made)
    return made


@pytest.mark.parametrize("order", ["native", "neox", "rows"])
def test_a_batch_is_what_the_model_was_given(tmp_path: Path, read: list[list[list[int]]], order: str) -> None:
    """With data left out before a batch, within one, and from two sources at once."""
    lake = Lake.open(str(tmp_path / "lake"))
    config = made(lake, tmp_path, order)
    leave_out(lake, config, 2, 16, 21)
    leave_out(lake, config, 3, 47, 50)
    train_here(lake, config, tmp_path / "cache")
    assert len(read) == STEPS
    tracer, sources = Tracer(lake, config.key, tmp_path / "cache"), set()
    for step in range(1, STEPS + 1):
        for name in ("batch.npy", "batch.bin"):
            files = tracer.write_batch(step - 1, tmp_path / str(step) / name)["files"]
            if name == "batch.npy":
                assert np.load(files[0]).tolist() == read[step - 1]
            else:
                written = TokenFile(*map(Path, files))
                assert [written.document(row).tolist() for row in range(written.documents)] == read[step - 1]
        listed = tracer.step(step)
        assert listed["taken"] and len(listed["sequences"]) == 8
        sources |= {one["source"] for one in listed["sequences"]}
    assert len(sources) == (1 if order == "rows" else 2)
    assert [one["sequence"] for one in tracer.step(5)["sequences"]] == [37, 38, 39, 40, 41, 42, 43, 44]
    shown = ask(lake, config, "--batch", "5", "--out", str(tmp_path / "shown.npy")).stdout
    assert "sequences 45 to 46, 50 to 55 in" in " ".join(shown.split())


def test_steps_to_come_follow_what_was_left_out(tmp_path: Path, read: list[list[list[int]]]) -> None:
    """What is told before the first step is what the step then reads."""
    lake = Lake.open(str(tmp_path / "lake"))
    config = small_run(lake, tmp_path / "text", steps=STEPS)
    leave_out(lake, config, 3, 44, 50)
    before = [Tracer(lake, config.key, tmp_path / "cache").step(step) for step in range(1, STEPS + 1)]
    assert not any(one["taken"] for one in before)
    train_here(lake, config, tmp_path / "cache")
    for step, one in enumerate(before, start=1):
        assert Tracer(lake, config.key, tmp_path / "cache").step(step) == {**one, "taken": True}


def test_a_step_for_which_the_data_do_not_suffice_is_told(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    config = small_run(lake, tmp_path / "text", steps=281)
    leave_out(lake, config, 3, 100, 200)
    done = ask(lake, config, "--step", "281")
    assert done.exit_code == 1 and "cannot take step 281: with the skipped data" in " ".join(done.stderr.split())


def test_a_run_that_goes_on_from_another_tells_of_both(tmp_path: Path, read: list[list[list[int]]]) -> None:
    """Three runs, each from a checkpoint of the one before, which itself went further: only the common steps count."""
    lake = Lake.open(str(tmp_path / "lake"))
    first = small_run(lake, tmp_path / "text", steps=STEPS)
    leave_out(lake, first, 2, 20, 23)
    train_here(lake, first, tmp_path / "cache")
    second = going_on_from(lake, first, 4, "second", steps=12, batch=4)
    train_here(lake, second, tmp_path / "cache")
    third = going_on_from(lake, second, 8, "third", batch=8)
    told_before = told(lake, third, "--step", "9")
    assert (told_before["run"], told_before["taken"]) == (third.key, False)
    leave_out(lake, third, 10, 62, 70)
    train_here(lake, third, tmp_path / "cache")
    batches = [*read[:4], *read[8:12], *read[16:]]
    assert len(batches) == 12 and told(lake, third, "--step", "9") == {**told_before, "taken": True}
    runs = [first] * 4 + [second] * 4 + [third] * 4
    for step, (config, batch) in enumerate(zip(runs, batches, strict=True), start=1):
        written = told(lake, third, "--batch", str(step - 1), "--out", str(tmp_path / f"{step}.npy"))
        assert (written["run"], written["step"], written["taken"]) == (config.key, step, True)
        assert np.load(tmp_path / f"{step}.npy").tolist() == batch
    shown = " ".join(ask(lake, third, "--step", "3").stdout.split())
    assert f"step 3 of run {first.key[:12]}, which this run continues, reads batch 2" in shown


def published(lake: Lake, folder: Path, names: list[str]) -> RunConfig:
    """A run over topics of Python's help as tokens with their lineage, as if a corpus had given them."""
    file = write_text(folder, names)
    source = store_tokens(lake, file.bin_path, file.idx_path, "text")
    rows = [
        {"document": number, "id": name, "url": None, "first_token": 0, "tokens": len(file.document(number))}
        for number, name in enumerate(names)
    ]
    path = folder / f"text{LINEAGE_SUFFIX}"
    pq.write_table(pa.Table.from_pylist(rows, schema=LINEAGE_SCHEMA), path)
    lineage = store_part(lake, path, name=path.name, rows=-1, content=sha256_file(path), suffix=LINEAGE_SUFFIX)
    parts = (Part(**source["bin"]), Part(**source["idx"]), lineage)
    rest: dict[str, Any] = {"inputs": {}, "libraries": {}, "details": {}, "cost": {}, "created": "2026-01-01"}
    account = Account(rows_in=len(names), kept=len(names))
    key = parts[0].sha256
    write_manifest(lake, Manifest(key, key, "tokens", 2, {}, models={}, parts=parts, account=account, **rest))
    values = {"model": SHAPES["pythia"], "training": training_values(steps=STEPS), "sources": [source], "seed": 7}
    config = run_config(values)
    create_run(lake, config)
    return config


def test_a_document_is_looked_for_in_all_runs(tmp_path: Path, read: list[list[list[int]]]) -> None:
    lake, names = Lake.open(str(tmp_path / "lake")), sorted(topics)
    one = published(lake, tmp_path / "one", names[:6])
    train_here(lake, one, tmp_path / "cache")
    # One child goes on in the same data, another in other data that share some documents, under other numbers.
    same = going_on_from(lake, one, 4, "same", steps=6)
    other = published(lake, tmp_path / "other", names[4:12])
    elsewhere = replace(same, label="elsewhere", sources=other.sources, origin=replace(same.origin, next_sequence=0))
    create_run(lake, elsewhere)
    for child in (same, elsewhere):
        train_here(lake, child, tmp_path / "cache")
    tracers = {config.key: Tracer(lake, config.key, tmp_path / "cache") for config in (one, same, elsewhere)}
    for child in (same, elsewhere):
        expected: dict[str, set[tuple[str, int, int]]] = {}
        for step in range(1, 7):
            run = one.key if step <= 4 else child.key
            for sequence in tracers[run].step(step)["sequences"]:
                for span in sequence["documents"]:
                    expected.setdefault(span["id"], set()).add((run, step, sequence["sequence"]))
        for name in names[:12] if child is elsewhere else names[:6]:
            answer = tracers[child.key].document(name)
            assert (answer["taken"], answer["unknown"]) == (6, None)
            found = [(s["run"], s["step"], s["sequence"]) for one in answer["documents"] for s in one["steps"]]
            assert sorted(found) == sorted(expected.get(name, set())), name
            assert len(answer["documents"]) == (2 if child is elsewhere and name in names[4:6] else 1)
    assert any(run == one.key for run, _, _ in expected[names[0]])
    shown = " ".join(ask(lake, elsewhere, "--document", names[0]).stdout.split())
    assert f"in the tokens of run {one.key[:12]}" in shown and f"step 1 of run {one.key[:12]}, sequence" in shown


def test_what_became_of_the_other_run_is_told(tmp_path: Path) -> None:
    """It was rolled back since, or is gone: what the common steps read is then not known, and not made up."""
    lake, names = Lake.open(str(tmp_path / "lake")), sorted(topics)
    one = published(lake, tmp_path / "one", names[:6])
    train_here(lake, one, tmp_path / "cache")
    child = going_on_from(lake, one, 4, "child", steps=6)
    train_here(lake, child, tmp_path / "cache")
    held = read_checkpoint(lake, one.key, 4)
    write_manifest_of(lake, replace(held, trainer={**held.trainer, "course": "another"}))
    done = ask(lake, child, "--step", "4")
    words = f"the run {one.key[:12]} no longer has the checkpoint at step 4"
    assert done.exit_code == 1 and words in " ".join(done.stderr.split())
    answer = told(lake, child, "--document", names[0])
    assert answer["unknown"]["last"] == 4 and words in answer["unknown"]["reason"]
    assert {sighting["step"] for sighting in answer["documents"][0]["steps"]} <= {5, 6}
    shown = " ".join(ask(lake, child, "--document", names[0]).stdout.split())
    assert f"For the steps up to 4, this is unknown: {words}" in shown
    lake.delete(f"runs/{one.key}/run.json")
    assert told(lake, child, "--document", names[0])["unknown"]["last"] == 4
    assert told(lake, child, "--step", "5")["taken"]


def test_a_run_that_cannot_read_its_data_is_told(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    for changes, words in (({"compat": "rows"}, "rows are read in stored order"), ({"steps": 400}, "its sources give")):
        done = ask(lake, small_run(lake, tmp_path / "text", **changes), "--step", "1")
        shown = " ".join(done.stderr.split())
        assert done.exit_code == 1 and "cannot read its data" in shown and words in shown


def test_tokens_of_no_artifact_have_no_names(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    done = ask(lake, small_run(lake, tmp_path / "text"), "--document", "x")
    assert done.exit_code == 1 and "belong to no artifact of this lake" in " ".join(done.stderr.split())
