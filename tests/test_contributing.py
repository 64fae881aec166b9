"""The worked examples of CONTRIBUTING.md: their files are written into a copy of the rooms, and their tests are run.

A fenced block with ``title="PATH"`` is a new file. One with ``insert="PATH" after="LINE"`` is put into a file that is
there, behind the only line that reads LINE apart from blanks at its ends.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("flows", "tasks", "model", "infra", "tests")
_FENCE = re.compile(r"^```(?P<kind>\w+) (?P<options>\S.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_OPTION = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Block:
    """A fenced block: a new file `path`, or lines for it behind the line `after`."""

    path: str
    text: str
    after: str | None = None

    def write(self, root: Path) -> None:
        """Carry it out in a copy of the repository. Raises ValueError when the place is not as the block says."""
        file = root / self.path
        if self.after is None:
            if file.exists():
                raise ValueError(f"{self.path} is there already: an example adds files")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.text)
            return
        lines = file.read_text().splitlines(keepends=True)
        places = [number for number, line in enumerate(lines) if line.strip() == self.after.strip()]
        if len(places) != 1:
            raise ValueError(f"{self.path} has {len(places)} lines {self.after!r}, and must have one")
        lines.insert(places[0] + 1, self.text)
        file.write_text("".join(lines))


def examples_of(text: str) -> dict[str, list[Block]]:
    """Heading → blocks of every section below a heading "### To add ..."."""
    sections = re.split(r"^### (?=To add )", text, flags=re.MULTILINE)[1:]
    found = {}
    for section in sections:
        heading, _, body = re.split(r"^#{1,3} ", section, flags=re.MULTILINE)[0].partition("\n")
        blocks = []
        for fence in _FENCE.finditer(body):
            options = dict(_OPTION.findall(fence["options"]))
            blocks.append(Block(options.get("title") or options["insert"], fence["text"], options.get("after")))
        found[heading] = blocks
    return found


EXAMPLES = examples_of((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The rooms and pyproject.toml in a folder of their own."""
    root = tmp_path / "repository"
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@pytest.mark.parametrize("heading", EXAMPLES)
def test_a_worked_example_works(heading: str, copy: Path) -> None:
    blocks = EXAMPLES[heading]
    tests = [block.path for block in blocks if Path(block.path).name.startswith("test_")]
    assert tests, f"the example {heading!r} has no test"
    for block in blocks:
        block.write(copy)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=copy,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b\d+ passed|^\.+ +\[100%\]$", done.stdout, re.MULTILINE), "its tests were run"
    # It is the copy that was tested, with the files of the example in it.
    assert all((copy / block.path).exists() for block in blocks)


@pytest.mark.parametrize(
    ("heading", "files", "changed"),
    [
        ("To add a stage", ["tasks/vowels.py", "vowels.yaml"], 0),
        ("To add a source", ["tasks/sources/text_lines.py", "lines.yaml"], 0),
        ("To add an architecture", ["model/architectures/sequential/__init__.py"], 1),
        ("To add an evaluation task", ["evaluation/capitals.jsonl", "evaluation/tasks.json"], 0),
    ],
)
def test_what_an_addition_takes(heading: str, files: list[str], changed: int) -> None:
    """Beside its tests: the new files, and the lines that change in files that are there (docs/architecture.md)."""
    blocks = [block for block in EXAMPLES[heading] if not Path(block.path).name.startswith("test_")]
    assert [block.path for block in blocks if block.after is None] == files
    assert sum(len(block.text.splitlines()) for block in blocks if block.after is not None) == changed


def test_blocks_are_found_and_carried_out(tmp_path: Path) -> None:
    text = (
        '### To add a thing\n\n```python title="a/new.py"\nX = 1\n```\n\n```\nmillrace not-a-file\n```\n\n'
        '```python insert="old.py" after="LIST = ["\n    \'new\',\n```\n\n## Another\n\n```python title="no.py"\n```\n'
    )
    [(heading, blocks)] = examples_of(text).items()
    assert heading == "To add a thing" and [block.path for block in blocks] == ["a/new.py", "old.py"]
    (tmp_path / "old.py").write_text("LIST = [\n    'old',\n]\n")
    for block in blocks:
        block.write(tmp_path)
    assert (tmp_path / "a" / "new.py").read_text() == "X = 1\n"
    assert (tmp_path / "old.py").read_text() == "LIST = [\n    'new',\n    'old',\n]\n"
    with pytest.raises(ValueError, match="is there already"):
        blocks[0].write(tmp_path)
    with pytest.raises(ValueError, match="has 0 lines 'NONE'"):
        Block("old.py", "", "NONE").write(tmp_path)


def test_an_example_that_fails_is_noticed(copy: Path) -> None:
    """What the harness runs is the copy, and a failure in it is one."""
    Block("infra/outcomes_extra.py", "ANSWER = 41\n").write(copy)
    Block(
        "tests/test_extra.py", "from infra.outcomes_extra import ANSWER\n\n\ndef test_it():\n    assert ANSWER == 42\n"
    ).write(copy)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_extra.py"],
        cwd=copy,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 1 and "41 == 42" in done.stdout
