"""`millrace demo`: the whole pipeline on a small generated crawl."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from flows import parameters
from flows.cli.build import print_funnel
from flows.cli.evaluate import print_scores
from flows.cli.options import DEFAULT_LAKE, DEFAULT_WORKERS, JsonOption, LakeOption, WorkersOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, output, print_json, progress_bars, styled
from infra.server.local import default_state_folder

# `planted` names of the documents that the demo suggests for `millrace explain`: _WORTH_EXPLAINING.
TRAININGS = ("demo-pythia.yaml", "demo-llama.yaml")
_WORTH_EXPLAINING = ("lake", "mill", "lake-bulleted", "gibberish", "night")


def demo(
    lake: LakeOption = DEFAULT_LAKE,
    workers: WorkersOption = DEFAULT_WORKERS,
    reports: Annotated[str, parameters.REPORTS.option()] = "reports",
    as_json: JsonOption = False,
) -> None:
    """Generate a small crawl from texts on this machine and run everything on it: corpus, training, scores, reports.

    The crawl contains planted copies, spam and broken records; a table shows the outcome of every record.
    """
    with friendly_errors(as_json), progress_bars(as_json) as show, prefect_server():
        from infra.progress import watched_by

        started = time.monotonic()
        with watched_by(show):
            done = run_demo(default_state_folder() / "demo", lake, workers, reports)
        done["seconds"] = round(time.monotonic() - started, 2)
    if as_json:
        print_json(done)
        return
    _tell(done, lake)


def run_demo(folder: Path, lake: str, workers: int, reports: str) -> dict[str, Any]:
    """Generate the crawl in `folder` and run the flow ``line`` on it, inside `prefect_server`.

    Returns the flow's result and the paths of the ``archives``. On the same machine, the crawl always has the same
    bytes, so a second call reuses everything in the lake.
    """
    from flows.line import run_line, training_configs
    from tasks.demo.crawl import make_crawl

    archives = [str(path) for path in make_crawl(folder / "crawl")]
    trainings = [str(training_configs() / name) for name in TRAININGS]
    done = run_line(recipe="demo", inputs=archives, trainings=trainings, lake=lake, workers=workers, reports=reports)
    return {"archives": archives, **done}


def _tell(done: dict[str, Any], lake: str) -> None:
    from tasks.demo.planted import planted_records

    record = done["build"]
    print_funnel(record["ledger"])
    output.print(f"\n{record['documents']:,} documents, {record['tokens']:,} tokens in {done['seconds']:,} s")
    output.print(f"The crawl is in {Path(done['archives'][0]).parent}", soft_wrap=True)
    output.print(f"The build is in the lake {lake}, named corpus/{record['recipe']['name']}", soft_wrap=True)
    for run in done["runs"]:
        output.print(styled("\n[bold]{}[/], run {}", run["preset"], run["run"][:12]))
        print_scores(run["evaluations"])
    output.print("\nReports (open them in a browser):")
    for report in done["reports"]:
        output.print(f"  file://{report}", soft_wrap=True)
    output.print("To see this run in the dashboard:  make up")
    output.print("\nDocuments with an interesting history:")
    # `make demo` runs without the virtual environment on PATH.
    command = "millrace" if shutil.which("millrace") else os.path.relpath(sys.argv[0])
    option = "" if lake == DEFAULT_LAKE else f" --lake {lake}"
    for planted in planted_records():
        if planted.name in _WORTH_EXPLAINING:
            output.print(f"  {command} explain {planted.url}{option}", soft_wrap=True)
