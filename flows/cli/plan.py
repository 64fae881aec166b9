"""`millrace plan`: the resources that a build or a training run will need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from flows.cli.options import JsonOption
from flows.cli.plan_corpus import corpus
from flows.cli.plan_mixture import mixture
from flows.cli.terminal import friendly_errors, output, print_json, print_table, styled

if TYPE_CHECKING:
    from model.planning.plan import Plan

plan_commands = typer.Typer(no_args_is_help=True)

SHOWN = 6  # alternatives in the table; --json has all


@plan_commands.callback()
def plans() -> None:
    """Plan what a build or a run needs before starting it."""


plan_commands.command()(corpus)
plan_commands.command()(mixture)


@plan_commands.command()
def training(
    preset: Annotated[str, typer.Argument(help="A preset such as pythia-1b, neox-20b, opt-175b or llama-65b.")],
    gpus: Annotated[int, typer.Option(help="Number of GPUs.", min=1)],
    gpu: Annotated[str, typer.Option(help="GPU type: a100-40gb, a100-80gb, h100, h200 or v100-32gb.")],
    layout: Annotated[
        str | None,
        typer.Option(
            help="KEY=VALUE,… of tensor, pipeline, data, zero, micro_batch, sequence_parallel and recompute (none, "
            "selective, whole). Without it: the fastest layout that fits."
        ),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="bf16, fp16 or fp32. Without it: the preset's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences per step. Without it: the preset's.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a training run: memory per GPU by part, step time, days, energy and carbon.

    `millrace plan training neox-20b --gpus 96 --gpu a100-40gb --layout tensor=2,pipeline=4,zero=1,micro_batch=4`
    """
    with friendly_errors(as_json):
        from model.cost.devices import device_by_name
        from model.planning.plan import plan, task_of, to_json
        from model.presets import preset as preset_of

        try:
            task = task_of(preset_of(preset), gpus, device_by_name(gpu), precision, batch)
            made = plan(task, None if layout is None else _values(layout))
        except ValueError as error:
            raise PlanError(str(error)) from error
        if as_json:
            print_json({"preset": preset, **to_json(made)})
        else:
            _show(preset, made)


class PlanError(ValueError):
    """The request cannot be planned."""


def _values(layout: str) -> dict[str, Any]:
    """Parse `tensor=2,zero=1`. Raises PlanError for entries other than KEY=VALUE."""
    values = {}
    for entry in layout.split(","):
        key, equals, value = entry.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise PlanError(f"--layout: {entry!r} is not KEY=VALUE, such as tensor=2,pipeline=4,zero=1")
        values[key.strip()] = yaml.safe_load(value)
    return values


def _show(preset: str, made: Plan) -> None:
    from model.planning.proposals import describe, tokens_per_second_per_gpu

    task, chosen = made.task, made.chosen
    counts = f"{task.config.parameters:,} parameters, {task.tokens:,} tokens, on {task.gpus:,} {task.device.name}"
    output.print(styled("[bold]{}[/]: {} in {}", preset, counts, task.precision))
    output.print(f"layout: {describe(chosen.layout)}, {chosen.layout.accumulation(task.batch)} micro-batches a step")
    for problem in made.problems:
        output.print(f"It does not fit: {problem}.", style="bold red")

    memory = [[part, f"{value / 1e9:.2f}"] for part, value in chosen.memory.parts.items() if value]
    memory.append(["all", f"{chosen.memory.total / 1e9:.2f} of {task.device.memory / 1e9:.0f}"])
    where = f"stage {chosen.memory.stage}, {chosen.memory.moment}"
    print_table(f"Memory of the fullest GPU ({where})", ["part", "GB"], memory)

    total = chosen.time.total
    time = [[part, f"{value:.3f}", f"{value / total:.1%}"] for part, value in vars(chosen.time).items() if value]
    print_table("Time of a step", ["part", "seconds", "share"], [*time, ["all", f"{total:.3f}", "100.0%"]])

    result = [
        ["tokens per second and GPU", f"{made.tokens_per_second_per_gpu:,.1f}"],
        ["model FLOPs utilisation", f"{made.mfu:.1%}" if made.mfu is not None else "unknown"],
        ["  counted as", made.flops.convention],
        ["GPU hours", f"{made.gpu_hours:,.0f}"],
        ["days", f"{made.days:,.1f}"],
        ["energy", f"{made.megawatt_hours:,.2f} MWh ({task.device.watts:.0f} W a GPU, PUE 1.1)"],
        ["carbon", f"{made.tonnes_co2e:,.2f} t CO2e (0.385 t/MWh)"],
    ]
    print_table("The run, without restarts and evaluations", ["", ""], result)
    others = [
        [describe(one.layout), round(tokens_per_second_per_gpu(task, one), 1), round(one.memory.total / 1e9, 1)]
        for one in made.alternatives[:SHOWN]
    ]
    if others:
        print_table("Other layouts that fit", ["layout", "tokens/s/GPU", "GB"], others)
    if made.refusals:
        print_table("Not possible", ["layout", "reason"], [[one.layout, one.reason] for one in made.refusals])
