"""No file of infra names a stage, a column of one, or a file of the model, in strings neither."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import infra
from infra.stage import StageKind
from tasks.stages import available_stages

ROOM = Path(infra.__file__).parent
# Names of files and records in a run's folder.
MODEL_FILES = ("run.json", "runs/", "logbook", "tail.jsonl", "launch.json", "progress.json")
# Words of the document schema and of plain English that are also names of columns.
OWN_WORDS = {"documents", "text", "id", "url", "date", "source", "failed", "edits", "length", "label", "size", "match"}


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_infra_names_no_stage_and_no_file_of_the_model() -> None:
    stages = available_stages(*StageKind)
    names = {stage.name for stage in stages}
    columns = {f"{stage.name}.{column}" for stage in stages if stage.schema for column in stage.schema.names}
    assert {"web_archive", "near_duplicates", "language", "tokens"} <= names and "language.label" in columns
    found = [
        f"{path.relative_to(ROOM)}:{line}: {text!r}"
        for path in sorted(ROOM.rglob("*.py"))
        for line, text in _strings(path)
        if text in names - OWN_WORDS or text in columns or any(name in text for name in MODEL_FILES)
    ]
    assert found == []
