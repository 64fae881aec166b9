"""`millrace plan corpus`: what a build will cost, from a sample of its inputs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows import parameters
from flows.cli.options import DEFAULT_LAKE, DEFAULT_WORKERS, JsonOption, LakeOption, SettingsOption, WorkersOption
from flows.cli.terminal import errors, friendly_errors, output, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.store.lake import Lake
    from tasks.forecast.record import Estimate, Forecast

DEFAULT_SAMPLE = 0.05


def corpus(
    recipe: Annotated[list[str], parameters.RECIPE.argument()],
    inputs: Annotated[list[str] | None, parameters.INPUTS.option("--input")] = None,
    sample: Annotated[float, typer.Option(help="Share of the records to read, such as 0.05.")] = DEFAULT_SAMPLE,
    workers: WorkersOption = DEFAULT_WORKERS,
    lake: LakeOption = DEFAULT_LAKE,
    settings: SettingsOption = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Store the forecast in the lake: the report of the build compares with it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Forecast a build from a sample of its records: time, disk, memory, requests and tokens, by stage.

    `millrace plan corpus crawl --input 'crawl/*.warc.gz' --workers 16`
    """
    chosen, *more = recipe  # as in `millrace build`
    with friendly_errors(as_json):
        from flows.recipe import load_recipe, require_inputs
        from tasks.forecast.making import make_forecast
        from tasks.forecast.record import keep as store

        resolved = load_recipe(chosen, settings or [], [*(inputs or []), *more])
        require_inputs(resolved)
        with _lake(lake, keep) as opened:
            made = make_forecast(opened, resolved, sample, workers, lambda text: errors.print(text, highlight=False))
            if keep:
                store(opened, made)
        if as_json:
            print_json(asdict(made))
            return
        _show(made, keep)


@contextmanager
def _lake(uri: str, keep: bool) -> Iterator[Lake]:
    """The lake, which keeps the digests of inputs; a temporary one if it does not exist and nothing is to be kept."""
    from flows.cli.opening import place
    from infra.scratch import scratch_folder
    from infra.store.errors import NotThere
    from infra.store.lake import Lake

    if not keep:
        try:
            place(uri).format()
        except NotThere:
            with scratch_folder("forecast-") as folder:
                yield Lake.open(str(folder / "lake"))
            return
    yield Lake.open(uri)


def _show(made: Forecast, kept: bool) -> None:
    from tasks.report.page import duration, size

    def hours(seconds: float) -> str:
        return f"{seconds / 3600:,.2f} h" if seconds >= 3600 else duration(seconds)

    def count(value: float) -> str:
        return f"{value:,.0f}"

    output.print(
        f"{made.recipe}: {made.read:,} of {made.found:,} records were read, in {made.sampled_files:,} of "
        f"{made.files:,} files of {size(made.input_bytes)}"
    )
    times = [
        [stage.name, hours(stage.seconds.value), _interval(stage.seconds, hours), hours(stage.wall_seconds.value)]
        for stage in made.stages
    ]
    print_table("Time by stage", ["artifact", "CPU time", "interval", f"wall, {made.workers} workers"], times)
    places = [
        [
            stage.name,
            size(stage.bytes.value),
            _interval(stage.bytes, size),
            count(stage.requests.value),
            size(stage.memory.value),
        ]
        for stage in made.stages
    ]
    print_table("Space by stage", ["artifact", "disk", "interval", "requests", "memory"], places)
    totals = [
        ["documents in the corpus", *_both(made.documents, count)],
        ["bytes of text", *_both(made.text_bytes, size)],
        ["tokens", *_both(made.tokens, count)],
        ["CPU-hours", *_both(made.seconds, lambda seconds: f"{seconds / 3600:,.3g}")],
        [f"wall time, {made.workers} workers", *_both(made.wall_seconds, hours)],
        ["disk", *_both(made.bytes, size)],
        ["requests to a remote lake", *_both(made.requests, count)],
        ["memory of a worker", *_both(made.memory, size)],
    ]
    print_table("In all", ["", "expected", "interval"], totals)
    for note in made.notes:
        output.print(note)
    if kept:
        output.print(f"Stored as forecasts/{made.key}.json: the report of the build shows it beside what it was.")


def _both(estimate: Estimate, shown: Callable[[float], str]) -> list[str]:
    return [shown(estimate.value), _interval(estimate, shown)]


def _interval(estimate: Estimate, shown: Callable[[float], str]) -> str:
    return "" if estimate.low == estimate.high else f"{shown(estimate.low)} to {shown(estimate.high)}"
