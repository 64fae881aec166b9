"""`millrace report`: one HTML page for a build and a run."""

from __future__ import annotations

from typing import Annotated

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, output, print_json


def report(
    corpus: Annotated[str | None, parameters.CORPUS.argument()] = None,
    run: Annotated[str | None, parameters.TRAINED_RUN.option()] = None,
    folder: Annotated[str, parameters.REPORTS.option()] = "reports",
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page with the funnel, distributions, loss, scores and cost. It needs no server."""
    with friendly_errors(as_json):
        from tasks.builds import find_build
        from tasks.runs import find_run

        opened = open_lake(lake)
        find_build(opened, corpus).require_documents()
        if run is not None:
            find_run(opened, run)
        with prefect_server():
            from flows.report import report_run

            path = report_run(corpus, run, lake, folder)
        if as_json:
            print_json({"report": path})
        else:
            output.print(f"file://{path}", soft_wrap=True)
