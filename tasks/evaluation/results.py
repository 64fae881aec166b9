"""The scores of checkpoints in the lake: ``runs/<key>/evaluations/step-000123.json``, one object per checkpoint."""

from __future__ import annotations

from typing import Any

from infra.store.digests import key_of
from infra.store.errors import NotThere
from infra.store.lake import Lake

FORMAT = 1


def evaluation_path(run: str, step: int) -> str:
    """The path of a checkpoint's scores in the lake."""
    return f"runs/{run}/evaluations/step-{step:06d}.json"


def read_evaluation(lake: Lake, run: str, step: int, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The scores of a checkpoint if they have this `identity`; None if there are none, or others."""
    try:
        found: dict[str, Any] = lake.read_json(evaluation_path(run, step))
    except NotThere:
        return None
    return found if found.get("key") == key_of(identity) else None


def write_evaluation(
    lake: Lake, run: str, step: int, identity: dict[str, Any], scores: dict[str, Any]
) -> dict[str, Any]:
    """Store the scores of a checkpoint, replacing older ones, and return the whole object.

    Raises ValueError if a score is not finite.
    """
    value = {"format": FORMAT, "key": key_of(identity), "identity": identity, "run": run, "step": step, **scores}
    lake.write_json(evaluation_path(run, step), value)
    return value


def read_evaluations(lake: Lake, run: str) -> list[dict[str, Any]]:
    """The scores of a run's checkpoints, by step.

    Each has ``step``; ``held_out`` with ``perplexity``, ``tokens`` and the same for each of its ``sources``; and
    ``tasks``, a list of ``name``, ``kind``, ``items``, ``metrics``, ``standard_errors`` and ``seconds``.
    """
    found = [lake.read_json(entry.path) for entry in lake.list(f"runs/{run}/evaluations")]
    return sorted(found, key=lambda one: one["step"])
