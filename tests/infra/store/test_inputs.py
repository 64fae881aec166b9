"""Input files: patterns, the inventory of digests, and inputs that are not there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from infra.store import inputs
from infra.store.errors import Corrupt, NotThere, StoreError
from infra.store.inputs import open_input, pinned_inventory, take_inventory
from infra.store.lake import Lake


def test_globs_folders_and_paths_name_files_in_order(lake: Lake, tmp_path: Path) -> None:
    for name in ("b.gz", "a.gz", "sub/c.gz"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    folder = tmp_path / "in"
    named = take_inventory(lake, [str(folder / "b.gz"), str(folder / "a*")]).files
    assert [file.name for file in named] == ["b.gz", "a.gz"]
    assert [file.name for file in take_inventory(lake, [str(folder)]).files] == ["a.gz", "b.gz", "c.gz"]
    assert named[0].sha256 == hashlib.sha256(b"b.gz").hexdigest()


def test_a_known_file_is_not_read_again_and_a_changed_one_is(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    assert take_inventory(lake, [str(path)]).hashed_bytes == 3
    assert take_inventory(lake, [str(path)]).hashed_bytes == 0
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    changed = take_inventory(lake, [str(path)])
    assert changed.hashed_bytes == 3
    assert changed.files[0].sha256 == hashlib.sha256(b"two").hexdigest()


def test_known_files_cost_one_read_for_each_folder(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pattern names them. A new file is read alone; the folder is written once."""
    for folder in "ab":
        (tmp_path / "in" / folder).mkdir(parents=True)
        for number in range(50):
            (tmp_path / "in" / folder / f"{number}.txt").write_text(f"{folder}{number}")
    first = take_inventory(lake, [str(tmp_path / "in")])
    asked: list[tuple[str, str]] = []
    for name in ("read", "write", "entry"):
        act = getattr(Lake, name)
        monkeypatch.setattr(
            Lake,
            name,
            lambda self, path, *more, act=act, name=name: asked.append((name, path)) or act(self, path, *more),
        )
    opened: list[str] = []
    monkeypatch.setattr(inputs, "_sha256", lambda uri: opened.append(uri) or "f" * 64)
    again = take_inventory(lake, [str(tmp_path / "in" / "b" / "*"), str(tmp_path / "in" / "a")])
    assert sorted(again.files, key=str) == sorted(first.files, key=str)
    assert [name for name, _ in asked] == ["read", "read"] and not opened
    (tmp_path / "in" / "a" / "new.txt").write_text("new")
    assert len(take_inventory(lake, [str(tmp_path / "in")]).files) == 101
    assert opened == [str(tmp_path / "in" / "a" / "new.txt")]
    assert [name for name, _ in asked[2:]].count("write") == 1


def test_what_was_hashed_is_kept_before_all_is(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_SECONDS_BETWEEN_WRITES", 0.0)
    monkeypatch.setattr(inputs, "_HASHING_THREADS", 1)
    for name in "abc":
        (tmp_path / name).write_text(name)
    sha256 = inputs._sha256

    def fail(uri: str) -> str:
        if uri.endswith("c"):
            raise StoreError("c is away")
        return sha256(uri)

    monkeypatch.setattr(inputs, "_sha256", fail)
    with pytest.raises(StoreError, match="c is away"):
        take_inventory(lake, [str(tmp_path / name) for name in "abc"])
    monkeypatch.setattr(inputs, "_sha256", sha256)
    assert take_inventory(lake, [str(tmp_path / name) for name in "abc"]).hashed_bytes == 1


def test_missing_and_repeated_inputs_are_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"none-\* matches no file"):
        take_inventory(lake, [str(tmp_path / "none-*")])
    (tmp_path / "a").write_text("one")
    with pytest.raises(StoreError, match=r"the inputs contain .* twice"):
        take_inventory(lake, [str(tmp_path / "a"), str(tmp_path / "a")])
    with pytest.raises(NotThere, match="no longer exists"), open_input(str(tmp_path / "gone")):
        pass


def test_a_pin_keeps_the_files_of_the_first_call(lake: Lake, tmp_path: Path) -> None:
    """A retry does not silently read fewer files, nor more."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(name.encode())
    first = pinned_inventory(lake, [str(folder)], "run")
    assert [file.name for file in first] == ["a", "b"]
    (folder / "a").unlink()
    (folder / "c").write_bytes(b"c")
    assert pinned_inventory(lake, [str(folder)], "run") == first
    assert [file.name for file in pinned_inventory(lake, [str(folder)], "another run")] == ["b", "c"]
    assert [file.name for file in pinned_inventory(lake, [str(folder)], None)] == ["b", "c"]


def test_a_damaged_pin_is_told(lake: Lake, tmp_path: Path) -> None:
    for value in ({}, [["a"]], [["a", "x", "b", "c"]], [["a", 1, "../b", "c"]], 7):
        lake.write_json("inputs/run.json", value)
        with pytest.raises(
            Corrupt, match=r"inputs/run\.json is not what Millrace writes there.*Delete it, and start again"
        ):
            pinned_inventory(lake, [str(tmp_path)], "run")
