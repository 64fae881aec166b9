"""Scratch folders go with their command, also when it is killed; nothing else is touched."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from infra.scratch import PREFIX, clear_abandoned, scratch_folder
from tests.holding import holding

COMMAND = """
import sys
from infra.scratch import scratch_folder
with scratch_folder("test-") as folder:
    (folder / "part").write_text("a copy")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_lives_as_long_as_its_block(temporary: Path) -> None:
    with scratch_folder("one-") as folder, scratch_folder() as other:
        assert folder.parent == other.parent == temporary and folder.name.startswith(f"{PREFIX}one-")
        assert clear_abandoned() == []
    assert list(temporary.iterdir()) == []


def test_what_a_killed_command_left_is_cleared(temporary: Path) -> None:
    with holding(COMMAND) as (command, line):
        left = Path(line)
        with scratch_folder():
            assert (left / "part").exists(), "it is in use"
        command.kill()
    assert (left / "part").exists()
    with scratch_folder():
        assert not left.exists()


def test_other_folders_are_left_alone(temporary: Path) -> None:
    somebody = temporary / f"{PREFIX}notes"
    somebody.mkdir()
    (temporary / f"{PREFIX}link").symlink_to(somebody)
    trap = temporary / f"{PREFIX}trap"
    trap.mkdir()
    target = temporary / "target"
    target.write_text("kept")
    (trap / ".in-use").symlink_to(target)
    assert clear_abandoned() == []
    assert somebody.exists() and trap.exists() and target.read_text() == "kept"
