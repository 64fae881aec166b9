"""The flow `line`: a corpus, training runs on it, their scores, and one report per run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from flows import parameters
from flows.build import build_corpus
from flows.evaluate import evaluate_run
from flows.report import make_report
from flows.train import train_model
from infra.flow import flow
from infra.store.lake import Lake
from tasks.builds import find_build


@flow(name="line")
def run_line(
    recipe: parameters.Recipe = "demo",
    inputs: parameters.Inputs = None,
    trainings: Annotated[list[str] | None, parameters.TRAININGS] = None,
    lake: parameters.Lake = "lake",
    workers: parameters.Workers = 2,
    items: parameters.Items = 100,
    reports: Annotated[str, parameters.REPORTS] = "reports",
) -> dict[str, Any]:
    """Build a corpus, train each config of `trainings` on it, score every checkpoint, and write the reports.

    Every step reuses results in the lake, so the same call resumes after an interruption.
    """
    build = build_corpus(recipe=recipe, inputs=inputs, lake=lake, workers=workers)
    opened = Lake.open(lake)
    record = find_build(opened, build["key"])
    runs = []
    for config in trainings or []:
        trained = train_model(config=config, corpus=build["key"], lake=lake)
        if trained["stopped"]:
            # A user stopped this run; the same call resumes it.
            runs.append(trained)
            continue
        scores = evaluate_run(run=trained["run"], lake=lake, items=items)
        report = make_report(opened, record, trained["run"], reports)
        runs.append({**trained, "evaluations": scores, "report": report})
    if not runs:
        return {"build": build, "runs": [], "reports": [make_report(opened, record, None, reports)]}
    return {"build": build, "runs": runs, "reports": [run["report"] for run in runs if "report" in run]}


def training_configs() -> Path:
    """The folder of the bundled training configs."""
    return Path(__file__).parent / "trainings"
