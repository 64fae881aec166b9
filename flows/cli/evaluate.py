"""`millrace evaluate`: scores of a run's checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, print_json, print_table, progress_bars


def evaluate(
    run: Annotated[str, parameters.RUN.argument()],
    steps: Annotated[list[int] | None, parameters.STEPS.option("--step")] = None,
    tasks: Annotated[str | None, parameters.TASKS.option()] = None,
    items: Annotated[int, parameters.ITEMS.option()] = 100,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Score checkpoints: held-out perplexity and lm-evaluation-harness tasks (by default, of held-out documents)."""
    with friendly_errors(as_json):
        from tasks.runs import find_run

        find_run(open_lake(lake), run)
        with progress_bars(as_json) as show, prefect_server():
            from flows.evaluate import evaluate_run
            from infra.progress import watched_by

            with watched_by(show):
                scores = evaluate_run(run, lake, steps, tasks, items)
        if as_json:
            print_json({"run": run, "evaluations": scores})
            return
        print_scores(scores)


def print_scores(scores: list[dict[str, Any]]) -> None:
    """Show scores by checkpoint as a table."""
    metrics = sorted(
        {(task["name"], metric) for score in scores for task in score["tasks"] for metric in task["metrics"]}
    )
    rows = []
    for score in scores:
        values = {(task["name"], name): value for task in score["tasks"] for name, value in task["metrics"].items()}
        row = [score["step"], round(score["held_out"]["perplexity"], 2)]
        rows.append([*row, *(round(values[metric], 4) if metric in values else "" for metric in metrics)])
    columns = ["step", "held-out perplexity", *(f"{task} {metric}" for task, metric in metrics)]
    print_table("Scores by checkpoint", columns, rows)
