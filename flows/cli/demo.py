"""`millrace demo`: the whole line on a small crawl that is made on the spot."""

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
from flows.cli.terminal import friendly_errors, output, print_json, progress_bars
from infra.server.local import default_state_folder

# What a reader may want to look up first, by the names of planted records.
TRAININGS = ("demo-pythia.yaml", "demo-llama.yaml")
_WORTH_EXPLAINING = ("lake", "mill", "lake-bulleted", "gibberish", "night")


def demo(
    lake: LakeOption = DEFAULT_LAKE,
    workers: WorkersOption = DEFAULT_WORKERS,
    reports: Annotated[str, parameters.REPORTS.option()] = "reports",
    as_json: JsonOption = False,
) -> None:
    """Make a small crawl from what this machine has, and run the whole line on it: corpus, training, scores, report.

    Among its pages are planted copies, spam and broken records; the table says what became of everything.
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
    """Make the crawl in `folder` and run the flow ``line`` on it, inside `prefect_server`.

    Gives what that flow gives, and the paths of the ``archives``. Made again on the same machine, the crawl has the
    same bytes, so that a second call makes nothing that the lake has.
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
    output.print(f"The crawl lies in {Path(done['archives'][0]).parent}", soft_wrap=True)
    output.print(
        f"Everything made of it lies in the lake {lake}, named corpus/{record['recipe']['name']}", soft_wrap=True
    )
    for run in done["runs"]:
        output.print(f"\n[bold]{run['preset']}[/], run {run['run'][:12]}")
        print_scores(run["evaluations"])
    output.print("\nThe reports, which any browser opens:")
    for report in done["reports"]:
        output.print(f"  file://{report}", soft_wrap=True)
    output.print("The dashboard, on the history of this run:  make up")
    output.print("\nLives worth reading:")
    # `make demo` runs without the environment's folder on the path.
    command = "millrace" if shutil.which("millrace") else os.path.relpath(sys.argv[0])
    option = "" if lake == DEFAULT_LAKE else f" --lake {lake}"
    for planted in planted_records():
        if planted.name in _WORTH_EXPLAINING:
            output.print(f"  {command} explain {planted.url}{option}", soft_wrap=True)
