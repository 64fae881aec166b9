"""Validates prefect.yaml strictly, then deploys it with `prefect deploy`."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from pydantic import ValidationError

from infra.server.strict import ignored_keys

DEPLOYMENTS_FILE = "prefect.yaml"


class DeploymentsError(ValueError):
    """prefect.yaml is not valid, or its deployment failed."""


def check_deployments(root: Path) -> list[str]:
    """Checks `prefect.yaml` in `root` and returns the names of its deployments, as "flow function/deployment".

    Raises DeploymentsError that lists each key that Prefect would ignore, each missing entrypoint, each parameter that
    the flow does not have, and each schedule without a slug (without a slug, every `prefect deploy` adds the schedule
    again).
    """
    path = root / DEPLOYMENTS_FILE
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    given.pop("definitions", None)  # holds YAML anchors; Prefect ignores it by design
    try:
        understood = PrefectYamlModel.model_validate(given)
    except ValidationError as error:
        raise DeploymentsError(f"{path}: {error}") from error
    ignored = ignored_keys(given, understood.model_dump(mode="json", by_alias=True))
    problems = [f"{key}: Prefect would ignore this key" for key in ignored]
    names = []
    for deployment, raw in zip(understood.deployments, given["deployments"], strict=True):
        problems += [f"{deployment.name}: {problem}" for problem in _problems(root, deployment, raw)]
        names.append(f"{str(deployment.entrypoint).rpartition(':')[2]}/{deployment.name}")
    if problems:
        raise DeploymentsError("\n".join([f"{path} cannot be deployed:", *(f"    {problem}" for problem in problems)]))
    return names


def deploy_file(root: Path) -> dict[str, str]:
    """Registers all deployments of `prefect.yaml` with the server that this process's environment names.

    Returns the entrypoint of each, by its name. Raises DeploymentsError with the output of `prefect deploy`.
    """
    check_deployments(root)
    given = yaml.safe_load((root / DEPLOYMENTS_FILE).read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DeploymentsError(f"`prefect deploy --all` failed:\n{done.stdout}")
    return {deployment["name"]: deployment["entrypoint"] for deployment in given["deployments"]}


def _problems(root: Path, deployment: DeploymentConfig, raw: dict[str, Any]) -> list[str]:
    schedules = raw.get("schedules", [])
    problems = [f"schedule {number} has no slug" for number, each in enumerate(schedules) if "slug" not in each]
    file, _, function = str(deployment.entrypoint).rpartition(":")
    if not (root / file).is_file():
        return [*problems, f"the entrypoint's file {file} does not exist"]
    parameters = _parameters(root / file, function)
    if parameters is None:
        return [*problems, f"{file} has no function {function}"]
    set_here = [raw.get("parameters", {}), *(each.get("parameters", {}) for each in schedules)]
    unknown = {name for values in set_here for name in values} - parameters
    return [*problems, *(f"{function} has no parameter {name}" for name in sorted(unknown))]


def _parameters(file: Path, function: str) -> set[str] | None:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            return {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
    return None
