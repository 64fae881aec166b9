"""Registers the deployments of prefect.yaml, with forms derived from the flows' parameters."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate

from flows.forms import form
from flows.recipe import read_recipe, recipe_names
from infra.server.deployments import deploy_file
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.names import all_names
from model.presets import preset_names

PROJECT = Path(__file__).parents[1]
CORPUS_FLOW = "build-corpus"


def deploy(client: SyncPrefectClient, lake: str) -> Iterator[str]:
    """Register the deployments and set the form of each. Yields lines to print.

    The forms list the bundled recipes and presets, and the corpora that `lake` has now. A deployment of `build_corpus`
    that sets a bundled recipe gets the form of that recipe. Raises DeploymentsError.
    """
    choices = {"recipes": recipe_names(), "presets": preset_names(), "corpora": []}
    try:
        choices["corpora"] = _corpora(lake)
    except StoreError as error:
        yield f"the forms cannot list the corpora of the lake {lake}: {error}"
    for name, entrypoint in deploy_file(PROJECT).items():
        flow = _flow(entrypoint)
        deployment = client.read_deployment_by_name(f"{flow.name}/{name}")
        given = deployment.parameters.get("recipe")
        recipe = read_recipe(given) if flow.name == CORPUS_FLOW and given in choices["recipes"] else None
        schema = form(flow, choices, deployment.parameters, recipe, lake)
        client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))
        yield f"deployed {flow.name}/{name}"


def _corpora(lake: str) -> list[str]:
    """Names of builds. A relative folder is relative to the project folder, where flows run."""
    found = lake if "://" in lake else str(PROJECT / lake)
    return sorted(name for name, reference in all_names(Lake.open(found)) if reference.stage == "build")


def _flow(entrypoint: str) -> Flow[..., Any]:
    file, _, function = entrypoint.rpartition(":")
    module = ".".join(Path(file).with_suffix("").parts)
    found: Flow[..., Any] = getattr(importlib.import_module(module), function)
    return found
