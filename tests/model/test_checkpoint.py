"""Checkpoints: written under any cutting, read under any other, and their bad days."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoints import files as slices
from model.checkpoints.files import open_state
from model.checkpoints.manifest import (
    Checkpoint,
    StoredFile,
    StoredSlice,
    commit,
    committed_steps,
    delete_manifest,
    newest_good,
    read_checkpoint,
    verify,
    write_manifest,
)
from model.state.boxes import Box, whole
from model.state.slices import KINDS
from tests.model.support.cuttings import (
    SHAPES,
    columns_and_intervals,
    cut,
    cuttings,
    save,
    save_steps,
    savers,
    state_at,
    streams_at,
)


def require_state(lake: Lake, checkpoint: Checkpoint, boxes: dict[str, list[list[Box]]], cache: Path) -> None:
    """Every tensor is the saved one in every bit, read in those boxes."""
    with open_state(lake, checkpoint, cache) as state:
        for one in (one for rank in cut(state_at(checkpoint.step), boxes) for one in rank):
            assert torch.equal(state.read(one.name, one.kind, one.box), one.values), (one.name, one.kind, one.box)


@settings(max_examples=25, deadline=None)
@given(cuttings(), cuttings(), st.data())
def test_any_cutting_is_read_under_any_other(
    written: dict[str, list[list[Box]]], read: dict[str, list[list[Box]]], data: st.DataObject
) -> None:
    ranks = len(written["head.scale"])
    with TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake")
        checkpoint = save(savers(lake, Path(folder), ranks), 3, written)
        assert read_checkpoint(lake, "run", 3) == checkpoint
        require_state(lake, checkpoint, read, Path(folder))
        with open_state(lake, checkpoint, Path(folder)) as state:
            assert state.shapes() == SHAPES
            for rank in range(ranks):
                streams = state.random_streams(rank)
                assert streams is not None and streams.keys() == streams_at(3, rank).keys()
                assert all(torch.equal(streams[name], values) for name, values in streams_at(3, rank).items())
            assert state.random_streams(ranks) is None


@pytest.mark.parametrize(("tensor", "data"), [(1, 4), (2, 2), (4, 1)])
def test_the_cuttings_of_the_engines(tensor: int, data: int, lake: Lake, tmp_path: Path) -> None:
    checkpoint = save(savers(lake, tmp_path, 4), 1, columns_and_intervals(tensor, data))
    for boxes in (columns_and_intervals(2, 2), columns_and_intervals(1, 3), columns_and_intervals(3, 1)):
        require_state(lake, checkpoint, boxes, tmp_path)


def test_no_more_is_read_than_asked_for(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save(savers(lake, tmp_path, 2), 1, columns_and_intervals(1, 2))
    asked: list[tuple[str, Any]] = []

    class Watched:
        def __init__(self, path: str, framework: str) -> None:
            self.file = safetensors.safe_open(path, framework)
            self.path = path

        def __enter__(self) -> Watched:
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def get_slice(self, key: str) -> Any:
            file, path = self.file, self.path

            class Slice:
                def __getitem__(self, index: Any) -> torch.Tensor:
                    values = file.get_slice(key)[index]
                    asked.append((path, values.numel()))
                    return values

            return Slice()

    monkeypatch.setattr(slices, "safe_open", Watched)
    with open_state(lake, checkpoint, tmp_path) as state:
        state.read("embedding.tokens.weight", "weight", Box((0, 1), (2, 2)))
    assert [number for _, number in asked] == [4] and "rank-0-weights" in asked[0][0]


@pytest.mark.parametrize("how", ["lacking", "twice", "other place"])
def test_slices_that_are_not_the_whole_tensor_are_refused(how: str, lake: Lake, tmp_path: Path) -> None:
    """Such a checkpoint is not committed; one that says so all the same is refused when it is read."""
    boxes = columns_and_intervals(1, 2)
    good = save(savers(lake, tmp_path, 2), 1, boxes)
    first, second = boxes["layers.0.bias"]
    boxes["layers.0.bias"] = {
        "lacking": [first, []],
        "twice": [first, first],
        "other place": [first, [Box((2,), second[0].shape)]],
    }[how]
    with pytest.raises(RuntimeError, match=r"step 2: the ranks' slices of weight of layers\.0\.bias .* do not cover"):
        save(savers(lake, tmp_path, 2), 2, boxes)
    assert committed_steps(lake, "run") == [1]

    weights, *others = good.files
    wrong = {
        "lacking": tuple(one for one in weights.slices if one.name != "layers.0.bias"),
        "twice": (*weights.slices, next(one for one in weights.slices if one.name == "layers.0.bias")),
        "other place": tuple(
            replace(one, box=Box((1,), one.box.shape)) if one.name == "layers.0.bias" else one for one in weights.slices
        ),
    }[how]
    with open_state(lake, replace(good, files=(replace(weights, slices=wrong), *others)), tmp_path) as state:
        with pytest.raises(
            Corrupt, match=r"weight of layers\.0\.bias from \(0,\) to \(7,\) is not stored exactly once"
        ):
            state.read("layers.0.bias", "weight", whole((7,)))


def test_another_model_is_refused(lake: Lake, tmp_path: Path) -> None:
    (checkpoint,) = save_steps(lake, tmp_path, 1)
    with open_state(lake, checkpoint, tmp_path) as state:
        for name, box in (("missing", whole((2,))), ("layers.0.bias", whole((8,)))):
            with pytest.raises(Corrupt, match="of another model"):
                state.read(name, "weight", box)
        with pytest.raises(Corrupt, match=r"has shape \(7,\)"):
            state.read("layers.0.bias", "second_moment", whole((7, 1)))


def test_identity(lake: Lake, tmp_path: Path) -> None:
    """Parent, trainer's state and bytes; not the launch, the time, or what retention has left."""
    one, two = save_steps(lake, tmp_path / "one", 0, 1)
    assert (one.parent, two.parent) == ("", one.digest)
    other = Lake.open(str(tmp_path / "other lake"))
    assert save_steps(other, tmp_path / "two", 0, 1, launch="another") == [one, two]
    resumed = savers(other, tmp_path / "three", launch="a third")
    assert save(resumed, 1, parent=one.digest) == two, "the first save of a resumed run has the parent it is told"
    assert save(savers(other, tmp_path / "four"), 1) != two, "and without it is another checkpoint"
    assert replace(two, pruned=True).digest == two.digest
    file = replace(two.files[0], sha256="0" * 64)
    changed = [replace(two, parent=""), replace(two, trainer={}), replace(two, files=(file, *two.files[1:]))]
    assert len({two.digest, *(one.digest for one in changed)}) == 4


def damage(lake: Lake, path: str, how: str) -> None:
    data = lake.read(path)
    if how == "deleted":
        lake.delete(path)
    elif how == "cut":
        lake.write(path, data[:-1])
    elif how == "half written":
        lake.write(path, data[: len(data) // 2])
    else:
        middle = len(data) // 2
        lake.write(path, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["flipped", "cut", "half written", "deleted"])
@pytest.mark.parametrize("which", ["weights", "state", "manifest"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    which: str, how: str, lake: Lake, tmp_path: Path
) -> None:
    checkpoints = [save(savers(lake, tmp_path, 2), step, columns_and_intervals(2, 1)) for step in (4, 8)]
    names = {file.content: file.object for file in checkpoints[1].files} | {"manifest": "manifest.json"}
    damage(lake, f"{checkpoints[1].folder}/{names[which]}", how)
    refused: list[tuple[int, str]] = []
    assert newest_good(lake, "run", tmp_path, lambda *told: refused.append(told)) == checkpoints[0]
    if (which, how) == ("manifest", "deleted"):
        assert not refused, "without its manifest a checkpoint was never there"
    else:
        assert [step for step, _ in refused] == [8] and "step-000008" in refused[0][1]

    if which != "manifest":
        with open_state(lake, checkpoints[1], tmp_path) as state:
            with pytest.raises((Corrupt, NotThere), match=f"rank-1-{which}"):
                for name, shape in SHAPES.items():
                    state.read(name, "weight" if which == "weights" else "first_moment", whole(shape))
    again = save(savers(lake, tmp_path, 2), 8, columns_and_intervals(2, 1), parent=checkpoints[1].parent)
    assert again == checkpoints[1], "done again, it is the same checkpoint"
    assert newest_good(lake, "run", tmp_path, lambda step, reason: pytest.fail(reason)) == again


@pytest.mark.parametrize("field", ["parent", "trainer", "run", "step", "files"])
def test_a_manifest_with_another_value_is_refused(field: str, lake: Lake, tmp_path: Path) -> None:
    (checkpoint,) = save_steps(lake, tmp_path, 8)
    path = f"{checkpoint.folder}/manifest.json"
    values = lake.read_json(path)
    other = {"parent": "0" * 64, "trainer": {}, "run": "other", "step": 9, "files": values["files"][:1]}
    lake.write_json(path, values | {field: other[field]})
    with pytest.raises(Corrupt, match="does not match its digest"):
        read_checkpoint(lake, "run", 8)


@pytest.mark.parametrize("change", [{"format": 1}, {"files": [{}]}, {"files": 3}, {"more": 1}])
def test_what_is_no_manifest_is_refused(change: dict[str, Any], lake: Lake, tmp_path: Path) -> None:
    (checkpoint,) = save_steps(lake, tmp_path, 8)
    path = f"{checkpoint.folder}/manifest.json"
    lake.write_json(path, lake.read_json(path) | change)
    with pytest.raises(Corrupt, match=r"format other than 2|is not what Millrace writes there"):
        read_checkpoint(lake, "run", 8)


def test_an_uncommitted_checkpoint_does_not_exist(lake: Lake, tmp_path: Path) -> None:
    earlier, later = save_steps(lake, tmp_path, 4, 8)
    delete_manifest(lake, "run", 8)
    lake.write("runs/run/checkpoints/step-000012/rank-0-weights-0.safetensors", b"half")
    assert newest_good(lake, "run", tmp_path, lambda step, reason: pytest.fail(reason)) == earlier
    assert committed_steps(lake, "run") == [4]
    for step in (8, 12):
        with pytest.raises(NotThere):
            read_checkpoint(lake, "run", step)
    commit(lake, later)
    assert newest_good(lake, "run", tmp_path, lambda step, reason: pytest.fail(reason)) == later
    assert newest_good(lake, "another run", tmp_path, lambda step, reason: pytest.fail(reason)) is None


def test_one_that_the_caller_objects_to_is_passed_over(lake: Lake, tmp_path: Path) -> None:
    checkpoints = save_steps(lake, tmp_path, 4, 8)
    refused: list[tuple[int, str]] = []

    def objection(checkpoint: Checkpoint) -> str:
        return "given up" if checkpoint.step == 8 else ""

    assert newest_good(lake, "run", tmp_path, lambda *told: refused.append(told), objection) == checkpoints[0]
    assert refused == [(8, "given up")]


def test_one_that_keeps_its_weights_serves_scoring_alone(lake: Lake, tmp_path: Path) -> None:
    earlier, later = save_steps(lake, tmp_path, 4, 8)
    write_manifest(lake, replace(later, pruned=True))
    (state,) = (file for file in later.files if file.content == "state")
    lake.delete(f"{later.folder}/{state.object}")
    refused: list[tuple[int, str]] = []
    assert newest_good(lake, "run", tmp_path, lambda *told: refused.append(told)) == earlier
    assert [step for step, _ in refused] == [8] and "keeps only its weights" in refused[0][1]

    pruned = read_checkpoint(lake, "run", 8)
    assert pruned.pruned and pruned.digest == later.digest
    verify(lake, pruned, tmp_path)
    with open_state(lake, pruned, tmp_path) as reader:
        for name, shape in SHAPES.items():
            assert torch.equal(reader.read(name, "weight", whole(shape)), state_at(8)[name, "weight"])
        for kind in KINDS[1:]:
            with pytest.raises(NotThere, match="keeps only its weights"):
                reader.read("layers.0.bias", kind, whole((7,)))
        with pytest.raises(NotThere, match="keeps only its weights"):
            reader.random_streams(0)


def test_a_digest_is_the_recorded_one() -> None:
    """Checkpoints that were written earlier keep their identity, whatever the code calls the fields of a manifest."""
    part = StoredSlice("embedding.tokens.weight", "weight", (4, 8), Box((0, 0), (2, 8)))
    file = StoredFile(0, "weights", "c" * 64, 100, (part,))
    checkpoint = Checkpoint("a" * 64, 4, "b" * 64, {"updates": 4}, (file,))
    assert checkpoint.digest == "c4f2fe0a31c0a1549f79c8fd32b774539db272bd6b8ef938dda57edc9696f565"
