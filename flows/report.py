"""The flow `report`: one HTML page for a build and optionally a training run, linked from the flow run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flows import parameters
from infra.attempts import require_progress
from infra.flow import flow
from infra.scratch import scratch_folder
from infra.store.lake import Lake
from infra.store.roots import require_inside
from tasks.builds import BuildRecord, find_build
from tasks.report.artifacts import publish_report
from tasks.report.data import collect_report
from tasks.report.page import write_report
from tasks.runs import find_run


@flow(name="report")
def report_run(
    corpus: parameters.Corpus = None,
    run: Annotated[str | None, parameters.TRAINED_RUN] = None,
    lake: parameters.Lake = "lake",
    folder: Annotated[str, parameters.REPORTS] = "reports",
) -> str:
    """Write the report of a build, and of a training run on it if given. Returns its path."""
    require_progress()
    opened = Lake.open(lake)
    build = find_build(opened, corpus)
    build.require_documents()
    return make_report(opened, build, None if run is None else find_run(opened, run), folder)


def make_report(opened: Lake, build: BuildRecord, key: str | None, folder: str) -> str:
    """Write the report and publish its artifacts on the page of the current flow run."""
    name = f"{build.recipe['name']}-{build.key[:12]}" + (f"-{key[:12]}" if key else "")
    path = (Path(folder) / f"{name}.html").absolute()
    require_inside(path, "the report")
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder() as cache:
        data = collect_report(opened, build, cache, key)
    write_report(data, path)
    publish_report(data, str(path))
    return str(path)
