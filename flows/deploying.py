"""Registers the deployments of prefect.yaml, with forms derived from the flows' parameters."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from flows.forms import form
from flows.recipe import read_recipe, recipe_names
from infra.server.deployments import deploy_file
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.names import all_names
from model.presets import preset_names

PROJECT = Path(__file__).parents[1]
CORPUS_FLOW = "build-corpus"
SCHEDULED = "corpus"  # the deployment that schedules build


def deploy(client: SyncPrefectClient, lake: str, inputs: Sequence[str] = (), reset: bool = False) -> Iterator[str]:
    """Register the deployments and set the form of each. Yields lines to print.

    The forms list the bundled recipes and presets, and the corpora that `lake` has now. A deployment of `build_corpus`
    that sets a bundled recipe gets the form of that recipe; its schedules build from `inputs`, and without inputs it
    has none. What people changed on the server stays, unless `reset`. Raises DeploymentsError.
    """
    choices = {"recipes": recipe_names(), "presets": preset_names(), "corpora": []}
    try:
        choices["corpora"] = _corpora(lake)
    except StoreError as error:
        yield f"the forms cannot list the corpora of the lake {lake}: {error}"
    wanted = [each if "://" in each else str(Path(each).absolute()) for each in inputs]
    # Without inputs it had no schedules; with others it keeps those that people set.
    again = [SCHEDULED] if wanted and not _inputs(client) else []
    for name, deployed in deploy_file(client, PROJECT, again, reset).items():
        flow = _flow(deployed.entrypoint)
        deployment = client.read_deployment_by_name(f"{flow.name}/{name}")
        parameters = deployment.parameters
        if name == SCHEDULED and wanted:
            parameters = {**parameters, "inputs": wanted}
            client.update_deployment(deployment.id, DeploymentUpdate(parameters=parameters))
        given = parameters.get("recipe")
        recipe = read_recipe(given) if flow.name == CORPUS_FLOW and given in choices["recipes"] else None
        schema = form(flow, choices, parameters, recipe, lake)
        client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))
        yield f"deployed {flow.name}/{name}" if deployed.renewed else f"kept {flow.name}/{name}; its form is renewed"
        if deployed.renewed and flow.name == CORPUS_FLOW and not parameters.get("inputs"):
            yield from _remove_schedules(client, deployment)


def _inputs(client: SyncPrefectClient) -> list[str]:
    """The inputs of the scheduled deployment, as on the server."""
    try:
        found = client.read_deployment_by_name(f"{CORPUS_FLOW}/{SCHEDULED}")
    except ObjectNotFound:
        return []
    return list(found.parameters.get("inputs") or [])


def _remove_schedules(client: SyncPrefectClient, deployment: DeploymentResponse) -> Iterator[str]:
    """Remove the schedules whose runs would have no inputs, and fail."""
    for schedule in deployment.schedules:
        if not schedule.parameters.get("inputs"):
            client.delete_deployment_schedule(deployment.id, schedule.id)
            yield (
                f"    its schedule {schedule.slug or schedule.id} would have no inputs, and is removed; to have it: "
                "millrace up --input 'crawl/*.warc.gz'"
            )


def _corpora(lake: str) -> list[str]:
    """Names of builds. A relative folder is relative to the project folder, where flows run."""
    found = lake if "://" in lake else str(PROJECT / lake)
    return sorted(name for name, reference in all_names(Lake.open(found)) if reference.stage == "build")


def _flow(entrypoint: str) -> Flow[..., Any]:
    file, _, function = entrypoint.rpartition(":")
    module = ".".join(Path(file).with_suffix("").parts)
    found: Flow[..., Any] = getattr(importlib.import_module(module), function)
    return found
