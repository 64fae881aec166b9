"""The state folder is its user's alone, whatever mode it had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.server.private import private_folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture(autouse=True)
def usual_umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("there", [None, (), ("prefect.db", "prefect.db-wal", "server.log")])
def test_others_read_nothing_of_the_state(tmp_path: Path, there: tuple[str, ...] | None) -> None:
    folder = tmp_path / "state"
    if there is not None:
        folder.mkdir(mode=0o755)
        for name in there:
            (folder / name).write_bytes(b"x")
    private_folder(folder)
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir()} == dict.fromkeys({"prefect.db", *(there or ())}, 0o600)


def test_a_folder_with_other_things_keeps_its_mode(tmp_path: Path) -> None:
    """Such as a project, or the folder of all temporary files."""
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").write_text("mine")
    private_folder(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "notes.txt"), mode(tmp_path / "prefect.db")) == (0o755, 0o644, 0o600)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    private_folder(shared)
    assert mode(shared) == 0o1777
