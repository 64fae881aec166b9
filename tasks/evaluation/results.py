"""The scores of checkpoints in the lake: an object for each checkpoint and each set of tasks, libraries and inputs.

Its path is ``runs/<key>/evaluations/step-000123-<first 16 digits of the scores' key>.json``. Scores with other tasks
stand beside it. Older versions kept one object for each checkpoint, ``step-000123.json``; it is still read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

from infra.store.digests import key_of
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from infra.store.schema import Count, Digest, Seconds, read_value

FORMAT = 1
_logger = logging.getLogger("millrace.store")


def evaluation_path(run: str, step: int, key: str) -> str:
    """The path in the lake of the scores with this key."""
    return f"runs/{run}/evaluations/step-{step:06d}-{key[:16]}.json"


def read_evaluation(lake: Lake, run: str, step: int, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The scores of a checkpoint with this `identity`; None if there are none."""
    key = key_of(identity)
    for path in (evaluation_path(run, step, key), f"runs/{run}/evaluations/step-{step:06d}.json"):
        found = _sound(lake, path)
        if found is not None and (found["key"], found["step"]) == (key, step):
            return found
    return None


def write_evaluation(
    lake: Lake, run: str, step: int, identity: dict[str, Any], scores: dict[str, Any]
) -> dict[str, Any]:
    """Store the scores of a checkpoint and return the whole object. Raises ValueError if a score is not finite."""
    key = key_of(identity)
    value = {"format": FORMAT, "key": key, "identity": identity, "run": run, "step": step, **scores}
    lake.write_json(evaluation_path(run, step, key), value)
    return value


def read_evaluations(lake: Lake, run: str) -> list[dict[str, Any]]:
    """The scores of a run's checkpoints, by step; of a task that was scored in several ways, the newest.

    Each has ``step``; ``held_out`` with ``perplexity``, ``tokens`` and the same for each of its ``sources``; and
    ``tasks``, a list of ``name``, ``kind``, ``items``, ``metrics``, ``standard_errors`` and ``seconds``.
    """
    by_step: dict[int, dict[str, Any]] = {}
    for entry in sorted(lake.list(f"runs/{run}/evaluations"), key=lambda entry: entry.modified):
        found = _sound(lake, entry.path)
        if found is None:
            continue
        before = by_step.get(found["step"], {}).get("tasks", [])
        names = {task["name"] for task in found["tasks"]}
        tasks = [*(task for task in before if task["name"] not in names), *found["tasks"]]
        by_step[found["step"]] = {**found, "tasks": sorted(tasks, key=lambda task: str(task["name"]))}
    return [by_step[step] for step in sorted(by_step)]


def _sound(lake: Lake, path: str) -> dict[str, Any] | None:
    """The scores at that path, with the types that `read_evaluations` tells; None where there are none.

    Damaged scores are logged and are none: the checkpoint is evaluated again.
    """
    where = f"{lake.uri}/{path}"
    try:
        values: dict[str, Any] = read_value(dict[str, Any], lake.read_json(path), where)
        for name, kind in _KINDS.items():
            read_value(kind, values.get(name), f"{where}: {name}")
    except NotThere:
        return None
    except Corrupt as error:
        _logger.warning("%s", error)
        return None
    return values


@dataclass(frozen=True, slots=True)
class _Perplexity:
    perplexity: float
    tokens: Count


@dataclass(frozen=True, slots=True)
class _HeldOut:
    perplexity: float
    tokens: Count
    sources: dict[str, _Perplexity]


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    kind: str
    items: Count
    metrics: dict[str, float]
    standard_errors: dict[str, float | None]
    seconds: float


_KINDS: dict[str, Any] = {
    "format": Literal[1],
    "key": Digest,
    "step": Count,
    "held_out": _HeldOut,
    "tasks": tuple[_Task, ...],
    "seconds": Seconds,
}
