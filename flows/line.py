"""The whole line: a corpus, training runs on it, their scores, and one report for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.build import build_corpus
from flows.evaluate import evaluate_run
from flows.report import report_run
from flows.train import train_model


@flow(name="line", log_prints=True)
def run_line(
    recipe: str = "demo",
    inputs: list[str] | None = None,
    trainings: list[str] | None = None,
    lake: str = "lake",
    workers: int = 2,
    items: int = 100,
    reports: str = "reports",
) -> dict[str, Any]:
    """Build a corpus, train each config of `trainings` on it, score every checkpoint, and write the reports.

    Every step takes from the lake what is there, so the same call after an interruption goes on where it was.
    """
    build = build_corpus(recipe=recipe, inputs=inputs, lake=lake, workers=workers)
    runs = []
    for config in trainings or []:
        trained = train_model(config=config, corpus=build["key"], lake=lake)
        scores = evaluate_run(run=trained["run"], lake=lake, items=items)
        report = report_run(corpus=build["key"], run=trained["run"], lake=lake, folder=reports)
        runs.append({**trained, "evaluations": scores, "report": report})
    if not runs:
        return {"build": build, "runs": [], "reports": [report_run(corpus=build["key"], lake=lake, folder=reports)]}
    return {"build": build, "runs": runs, "reports": [run["report"] for run in runs]}


def training_configs() -> Path:
    """The folder of the training configs that come with Millrace."""
    return Path(__file__).parent / "trainings"
