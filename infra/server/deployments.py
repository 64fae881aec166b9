"""Validates prefect.yaml strictly, then deploys with `prefect deploy` what is new or changed in it."""

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prefect
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from pydantic import ValidationError

from infra.server.strict import ignored_keys

DEPLOYMENTS_FILE = "prefect.yaml"
_VARIABLE = "millrace_deployments"  # of the server: what was registered last


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


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment of prefect.yaml. `renewed` means that it was registered now, and not only found as it was."""

    entrypoint: str
    renewed: bool


def deploy_file(
    client: SyncPrefectClient, root: Path, again: Collection[str] = (), reset: bool = False
) -> dict[str, Deployed]:
    """Register the deployments of `prefect.yaml` that are new or have changed there; returns all, by name.

    Schedules and parameters that a person set on the server are kept as long as the deployment's entry in the file
    stays as it is. Those named in `again`, or all with `reset`, are registered in any case. Raises DeploymentsError,
    with the output of `prefect deploy`.
    """
    check_deployments(root)
    given = yaml.safe_load((root / DEPLOYMENTS_FILE).read_text(encoding="utf-8"))
    entries = {deployment["name"]: deployment for deployment in given["deployments"]}
    digests = {name: _digest(root, entry) for name, entry in entries.items()}
    known = _known(client)
    names = DeploymentFilterName(any_=list(entries))
    there = {each.name for each in client.read_deployments(deployment_filter=DeploymentFilter(name=names))}
    unchanged = {name for name in there if known.get(name) == digests[name]}
    renewed = entries.keys() - (set() if reset else unchanged - set(again))
    if renewed:
        _prefect_deploy(root, sorted(renewed))
        value = {**known, **digests}
        if client.read_variable_by_name(_VARIABLE) is None:
            client.create_variable(VariableCreate(name=_VARIABLE, value=value))
        else:
            client.update_variable(VariableUpdate(name=_VARIABLE, value=value))
    return {name: Deployed(entry["entrypoint"], name in renewed) for name, entry in entries.items()}


def _digest(root: Path, entry: dict[str, Any]) -> str:
    """Of all that `prefect deploy` sends: the entry, the project's folder, and what Prefect makes of them."""
    return hashlib.sha256(json.dumps([str(root), prefect.__version__, entry], sort_keys=True).encode()).hexdigest()[:16]


def _known(client: SyncPrefectClient) -> dict[str, str]:
    """The digests of the entries as last registered, by name. Anything else in the variable counts as none."""
    variable = client.read_variable_by_name(_VARIABLE)
    return dict(variable.value) if variable is not None and isinstance(variable.value, dict) else {}


def _prefect_deploy(root: Path, names: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *(part for name in names for part in ("-n", name))],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DeploymentsError(f"`prefect deploy` of {', '.join(names)} failed:\n{done.stdout}")


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
