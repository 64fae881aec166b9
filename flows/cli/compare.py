"""`millrace compare`: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.runs import find
from flows.cli.terminal import friendly_errors, output, print_json, print_table
from infra.scratch import scratch_folder

if TYPE_CHECKING:
    from infra.store.lake import Lake
    from model.analysis.comparison import Comparison, Recorded, Trace
    from model.observers.records import StepRecord


class CannotPlot(ValueError):
    """The curves cannot be drawn; the message gives the reason."""


def compare(
    first: Annotated[str, typer.Argument(help="Key of a run, or its first characters.")],
    second: Annotated[str, typer.Argument(help="Key of the other run.")],
    other_lake: Annotated[str | None, typer.Option(help="Lake of the second run, if it is another one.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write both loss curves to this SVG file.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Compare settings, data, losses, norms, events and final weights of two runs. Exits with 1 if results differ."""
    with friendly_errors(as_json):
        from model.analysis.comparison import compare_runs
        from model.observers.losses import read_losses

        sides = (find(first, lake), find(second, other_lake or lake))
        with scratch_folder() as cache:
            comparison = compare_runs(*sides, cache)
        if plot is not None:
            _plot({f"{name}: {key[:12]}": read_losses(*side) for name, key, side in _named(sides)}, plot)
        if as_json:
            print_json(comparison.to_plain())
        else:
            _show(comparison)
        if not comparison.same:
            raise typer.Exit(1)


def _show(comparison: Comparison) -> None:
    output.print(_verdict(comparison))
    for run, origins in zip(comparison.runs, comparison.origins, strict=True):
        if origins:
            output.print(f"{run[:12]} continues from {', which continues from '.join(map(_short, origins))}.")
    rows = [[one.field, one.first, one.second] for one in comparison.configuration]
    rows += [["data order", *comparison.fingerprints]] if len(set(comparison.fingerprints)) > 1 else []
    rows += [["recorded steps", *map(_steps, comparison.steps)]] if any(one.alone for one in comparison.steps) else []
    if rows:
        print_table("Settings that differ", ["field", *(run[:12] for run in comparison.runs)], rows)
    if comparison.traces:
        columns = ["metric", "first difference", "largest, relative", "at"]
        print_table("Steps recorded by both runs", columns, list(map(_row, comparison.traces)))
    else:
        output.print("The runs have no recorded step in common.")
    if any(comparison.events):
        rows = [
            [comparison.runs[number][:12], event["step"], event["kind"], event["who"], event["cause"]]
            for number, events in enumerate(comparison.events)
            for event in events
        ]
        print_table("Events", ["run", "step", "event", "who", "cause"], rows)
    if comparison.weights is None:
        output.print("The runs have no checkpoint at the same step.")
        return
    weights = comparison.weights
    rows = [[one.name, _number(one.largest), _number(one.relative)] for one in weights.tensors]
    rows += [[name, "only in one run", ""] for name in weights.alone]
    if rows:
        print_table(f"Weights that differ at step {weights.step:,}", ["tensor", "largest", "relative"], rows)
    else:
        output.print(f"The weights at step {weights.step:,} are bitwise identical.")


def _verdict(comparison: Comparison) -> str:
    if comparison.same:
        return "The results are bitwise identical."
    if comparison.differs:
        return f"The results differ in: {', '.join(comparison.differs)}."
    last = comparison.steps[0].last
    if last is None:
        return "Neither run has recorded a step, so there are no results to compare."
    return f"All metrics agree; weights were not compared: no common checkpoint at step {last:,}, the last."


def _steps(recorded: Recorded) -> str:
    if recorded.first is None or recorded.last is None:
        return "none"
    alone = f", {recorded.alone:,} of them only in this run" if recorded.alone else ""
    return f"{recorded.first:,} to {recorded.last:,}{alone}"


def _short(origin: str) -> str:
    run, _, step = origin.partition("@")
    return f"{run[:12]}@{step}"


def _row(trace: Trace) -> list[Any]:
    if trace.first is None:
        return [trace.field, "none", "", ""]
    largest = "" if trace.largest is None else f"{trace.largest:.3g}"
    return [trace.field, f"step {trace.first:,}", largest, "" if trace.at is None else f"step {trace.at:,}"]


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _named(sides: tuple[tuple[Lake, str], tuple[Lake, str]]) -> list[tuple[str, str, tuple[Lake, str]]]:
    # The same run in two lakes has one key, so the names must differ.
    return [(name, side[1], side) for name, side in zip(("first", "second"), sides, strict=True)]


def _plot(curves: dict[str, list[StepRecord]], file: Path) -> None:
    """Write the loss curves as an SVG file. Raises CannotPlot for another suffix, or if no loss is finite."""
    from tasks.report.figures import Curve, line_chart, standalone

    if file.suffix != ".svg":
        raise CannotPlot(f"--plot writes an SVG file, but {file} does not end in .svg: use {file.with_suffix('.svg')}")
    # Non-finite losses are omitted; the line connects the steps on either side.
    lines = [
        Curve(name, shade, tuple((one.step, one.loss) for one in records if one.loss is not None))
        for (name, records), shade in zip(curves.items(), ("a", "c"), strict=True)
    ]
    if not any(line.points for line in lines):
        raise CannotPlot("--plot: neither run has recorded a finite loss, so there is no curve to draw")
    drawn = [line for line in lines if line.points]
    colours = {"a": "teal", "c": "red"}
    legend = "; ".join(f"{line.name} ({colours[line.shade]})" for line in drawn)
    chart = line_chart(
        drawn,
        title="Loss by step",
        description=legend,
        x_label=f"step — {legend}",
        y_label="loss, nats per token",
        width=900,
        height=480,
    )
    file.write_text(standalone(chart), encoding="utf-8")
