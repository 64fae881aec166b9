"""The flow `evaluate-run`: from checkpoints to scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect.logging import get_run_logger

from flows import parameters
from infra.attempts import require_progress
from infra.flow import flow
from infra.orchestration import as_task
from infra.progress import report_progress
from infra.store.lake import Lake
from model.checkpoints.manifest import committed_steps
from tasks.evaluation.process import evaluate
from tasks.runs import find_run


@flow(name="evaluate-run")
def evaluate_run(
    run: Annotated[str, parameters.RUN],
    lake: parameters.Lake = "lake",
    steps: Annotated[list[int] | None, parameters.STEPS] = None,
    tasks: Annotated[str | None, parameters.TASKS] = None,
    items: parameters.Items = 100,
) -> list[dict[str, Any]]:
    """Score a run's checkpoints: held-out perplexity and lm-evaluation-harness tasks. Existing scores are reused.

    Without a task file, two tasks are made from the held-out documents.
    """
    require_progress()
    opened = Lake.open(lake)
    return run_evaluation(opened, find_run(opened, run), steps, None if tasks is None else Path(tasks), items)


def run_evaluation(
    lake: Lake, run: str, steps: Sequence[int] | None, tasks: Path | None, items: int
) -> list[dict[str, Any]]:
    """Score one run as one task of the current flow run."""
    chosen = list(steps) if steps else committed_steps(lake, run)
    logger = get_run_logger()

    def carry_out() -> Any:
        return evaluate(
            lake,
            run,
            steps=chosen,
            tasks=tasks,
            items=items,
            on_line=logger.info,
            on_step=lambda done, total: report_progress("evaluation", done, total),
        )

    scores: list[dict[str, Any]] = as_task(carry_out, f"evaluate {run[:12]}")(return_state=True).result()
    return scores
