"""Shared fixtures have one definition each."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_no_test_imports_a_shared_fixture() -> None:
    """An imported fixture is a second definition: a second server, or a second browser, which Playwright refuses."""
    fixtures: set[str] = set()
    for path in ROOT.glob("tests/**/conftest*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and "fixture" in "".join(map(ast.unparse, node.decorator_list)):
                fixtures.add(node.name)
    assert {"browser", "prefect_server"} <= fixtures
    imported = [
        f"{path.relative_to(ROOT)}: {name.name}"
        for path in ROOT.glob("tests/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("conftest")
        for name in node.names
        if name.name in fixtures
    ]
    assert not imported, imported
