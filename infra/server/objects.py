"""Applies work pools, queues, limits and automations from one file to a Prefect server, idempotently."""

from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict, Field

from infra.server.strict import ignored_keys

OBJECTS_FILE = Path(__file__).with_name("objects.yaml")

# No variables, so that a run or deployment cannot set the command, the environment or the folder. In Prefect's own
# template for process workers these are variables, so anyone who can create a run can run any command. The
# configuration must not have a key `env`, because Prefect merges a run's `env` into it. The server rejects job
# variables that the schema lacks. The worker ignores those that bypass the server, because the template has no
# placeholders.
BASE_JOB_TEMPLATE = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


class ObjectsError(ValueError):
    """The file of server objects cannot be applied."""


class QueueSpec(BaseModel):
    """A queue of a work pool. With `concurrency_limit` None, only the pool's limit applies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    concurrency_limit: int | None = Field(default=None, ge=1)


class WorkPoolSpec(BaseModel):
    """A pool of process workers. `environment` is added to the environment of the worker, which every run inherits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: str = Field(pattern="^process$")
    description: str
    concurrency_limit: int = Field(ge=1)
    environment: dict[str, str] = {}
    queues: list[QueueSpec] = []


class Objects(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    work_pools: list[WorkPoolSpec]
    automations: list[AutomationCore]


def read_objects(path: Path = OBJECTS_FILE) -> Objects:
    """Reads and validates the file. Raises ObjectsError for keys that Prefect would ignore; ValidationError."""
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    objects = Objects.model_validate(given)
    ignored = ignored_keys(given, objects.model_dump(mode="json"))
    if ignored:
        raise ObjectsError(f"{path}: Prefect does not know {', '.join(ignored)}; cure: correct the spelling")
    return objects


def apply_objects(client: SyncPrefectClient, objects: Objects) -> list[str]:
    """Creates missing objects and updates those that differ; returns one line per change."""
    changes = []
    for pool in objects.work_pools:
        changes += _apply_pool(client, pool)
        for queue in pool.queues:
            changes += _apply_queue(client, pool.name, queue)
    for automation in objects.automations:
        changes += _apply_automation(client, automation)
    return changes


def _apply_pool(client: SyncPrefectClient, spec: WorkPoolSpec) -> list[str]:
    wanted = {
        "description": spec.description,
        "concurrency_limit": spec.concurrency_limit,
        "base_job_template": BASE_JOB_TEMPLATE,
    }
    try:
        pool: WorkPool = client.read_work_pool(spec.name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=spec.name, type=spec.type, **wanted))
        return [f"work pool {spec.name}: created"]
    if pool.type != spec.type:
        raise ObjectsError(f"work pool {spec.name} is of type {pool.type}, not {spec.type}; cure: delete or rename it")
    if all(getattr(pool, name) == value for name, value in wanted.items()):
        return []
    client.update_work_pool(spec.name, WorkPoolUpdate(**wanted))
    return [f"work pool {spec.name}: changed"]


def _apply_queue(client: SyncPrefectClient, pool: str, spec: QueueSpec) -> list[str]:
    try:
        queue = client.read_work_queue_by_name(spec.name, work_pool_name=pool)
    except ObjectNotFound:
        client.create_work_queue(
            spec.name, description=spec.description, concurrency_limit=spec.concurrency_limit, work_pool_name=pool
        )
        return [f"work queue {pool}/{spec.name}: created"]
    if (queue.description, queue.concurrency_limit) == (spec.description, spec.concurrency_limit):
        return []
    client.update_work_queue(queue.id, description=spec.description, concurrency_limit=spec.concurrency_limit)
    return [f"work queue {pool}/{spec.name}: changed"]


def _apply_automation(client: SyncPrefectClient, wanted: AutomationCore) -> list[str]:
    found = client.read_automations_by_name(wanted.name)
    for surplus in found[1:]:
        client.delete_automation(surplus.id)
    changes = [f"automation {wanted.name!r}: a duplicate was deleted" for _ in found[1:]]
    if not found:
        client.create_automation(wanted)
        return [f"automation {wanted.name!r}: created"]
    if _content(found[0]) != _content(wanted):
        client.update_automation(found[0].id, wanted)
        changes.append(f"automation {wanted.name!r}: changed")
    return changes


def _content(automation: AutomationCore) -> dict[str, Any]:
    content = AutomationCore.model_validate(automation.model_dump()).model_dump()
    content["trigger"].pop("id", None)
    return content
