"""`millrace demo`: the whole line on a small crawl that is made on the spot."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.build import print_funnel
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, output, print_json, progress_bars
from infra.server.local import default_state_folder

# What a reader may want to look up first, by the names of planted records.
_WORTH_EXPLAINING = ("lake", "mill", "lake-bulleted", "gibberish", "night")


def demo(
    lake: LakeOption = DEFAULT_LAKE,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = os.cpu_count() or 1,
    as_json: JsonOption = False,
) -> None:
    """Make a small crawl from what this machine has, and run the line on it.

    Among its pages are planted copies, spam and broken records; the table says what became of everything.
    """
    with friendly_errors(as_json), progress_bars(as_json) as show, prefect_server():
        from infra.progress import watched_by

        started = time.monotonic()
        with watched_by(show):
            done = run_demo(default_state_folder() / "demo", lake, workers)
        done["seconds"] = round(time.monotonic() - started, 2)
    if as_json:
        print_json(done)
        return
    _tell(done, lake)


def run_demo(folder: Path, lake: str, workers: int) -> dict[str, Any]:
    """Make the crawl in `folder` and build the recipe ``demo`` from it, inside `prefect_server`.

    Gives the paths of the ``archives`` and the ``build`` as its record. Made again on the same machine, the crawl has
    the same bytes, so that a second call makes nothing that the lake has.
    """
    from flows.build import build_corpus
    from infra.demo.crawl import make_crawl

    archives = [str(path) for path in make_crawl(folder / "crawl")]
    record = build_corpus(recipe="demo", inputs=archives, lake=lake, workers=workers)
    return {"archives": archives, "build": record}


def _tell(done: dict[str, Any], lake: str) -> None:
    from infra.demo.planted import planted_records

    record = done["build"]
    print_funnel(record["ledger"])
    output.print(f"\n{record['documents']:,} documents, {record['tokens']:,} tokens in {done['seconds']:,} s")
    output.print(f"The crawl lies in {Path(done['archives'][0]).parent}", soft_wrap=True)
    output.print(
        f"Everything made of it lies in the lake {lake}, named corpus/{record['recipe']['name']}", soft_wrap=True
    )
    output.print("\nLives worth reading:")
    option = "" if lake == DEFAULT_LAKE else f" --lake {lake}"
    for planted in planted_records():
        if planted.name in _WORTH_EXPLAINING:
            output.print(f"  millrace explain {planted.url}{option}", soft_wrap=True)
