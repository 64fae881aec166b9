"""`millrace train` and `millrace runs`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption, LayoutOption, SettingsOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import errors, friendly_errors, output, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from flows.training import TrainingSection
    from infra.store.lake import Lake


def train(
    config: Annotated[str | None, parameters.CONFIG.argument()] = None,
    corpus: Annotated[str | None, parameters.CORPUS.option()] = None,
    origin: Annotated[str | None, parameters.ORIGIN.option("--from")] = None,
    new: Annotated[str | None, parameters.NEW.option()] = None,
    layout: LayoutOption = None,
    lake: LakeOption = DEFAULT_LAKE,
    settings: SettingsOption = None,
    create_only: Annotated[
        bool, typer.Option("--create-only", help="Create the run and do not start it: for `millrace launch`.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model on a corpus, or resume a run that was stopped or interrupted.

    `millrace train tiny-pythia --corpus corpus/demo --set training.steps=200`
    """
    with friendly_errors(as_json):
        from flows.training import layout_settings, load_training
        from tasks.settings import RecipeError, nested_settings

        changes = nested_settings([*(settings or []), *layout_settings(layout or [])])
        given = {"corpus": corpus, "origin": origin}
        changes |= {name: value for name, value in given.items() if value is not None}
        # Reject a wrong config or lake before starting a server.
        load_training(config, changes)
        if "preset" in changes:
            raise RecipeError("--set preset: give the preset as the config argument instead")
        opened = open_lake(lake)
        if "origin" in changes:
            from tasks.run_origin import find_origin

            # Reports problems here; the flow uses the checkpoint that this returns.
            told = partial(errors.print, soft_wrap=True)
            changes["origin"] = find_origin(opened, changes["origin"], told)
        if create_only:
            key = _create(
                opened, load_training(config, {**changes, **({"label": new} if new else {})}), new is not None
            )
            if as_json:
                print_json({"run": key, **_summary(opened, key)})
            else:
                output.print(f"run {key[:12]} is created; start it with `millrace launch machine {key[:12]}`")
            return
        with progress_bars(as_json) as show, prefect_server():
            from flows.train import train_model
            from infra.progress import watched_by

            with watched_by(show):
                result = train_model(config=config, new=new, lake=lake, **changes)
        summary = {**result, **_summary(opened, result["run"])}
    if as_json:
        print_json(summary)
        return
    _tell(summary)


def runs(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """List the training runs of a lake and their progress."""
    with friendly_errors(as_json):
        from tasks.runs import run_keys

        opened = open_lake(lake)
        found = [{"run": key, **_summary(opened, key)} for key in run_keys(opened)]
        if as_json:
            print_json({"runs": found})
            return
        columns = ["run", "label", "state", "step", "loss", "validation", "saved"]
        rows = [
            [
                *(run["run"][:12], run["label"], run["state"], f"{run['step']:,} of {run['steps']:,}"),
                *("" if run[name] is None else run[name] for name in ("loss", "validation_loss")),
                len(run["checkpoints"]),
            ]
            for run in found
        ]
        print_table("Runs", columns, rows)


def _create(opened: Lake, section: TrainingSection, fork: bool) -> str:
    """Create a run without starting it. Returns its key."""
    from tasks.builds import find_build
    from tasks.run_request import requested_run
    from tasks.training import create_training_run

    tokens = find_build(opened, section.corpus).manifest(opened, "tokens")
    return create_training_run(opened, requested_run(opened, tokens, section.request(), fork), None)


def _tell(run: dict[str, Any]) -> None:
    name = f"run {run['run'][:12]}"
    if run["origin"] is not None:
        from tasks.run_origin import describe_origin

        output.print(f"{name} {describe_origin(run['origin'])}")
    if run["resumed"]:
        output.print(f"resumed at step {', '.join(f'{step:,}' for step in run['resumed'])}")
    output.print(f"{name}: {run['step']:,} of {run['steps']:,} steps, {run['tokens']:,} tokens, {run['state']}")
    if run["loss"] is not None:
        validated = "" if run["validation_loss"] is None else f", validation loss {run['validation_loss']}"
        output.print(f"loss {run['first_loss']} → {run['loss']}{validated}")
    if run["skipped"]:
        output.print(f"{run['skipped']:,} updates were skipped; the report and the logbook give the reasons")
    output.print(f"checkpoints at {', '.join(f'{step:,}' for step in run['checkpoints'])}")
    if run["stopped"]:
        output.print(run["stopped"])


def _summary(opened: Lake, run: str) -> dict[str, Any]:
    """Progress of a run. Steps with a non-finite loss have no recorded number and are omitted."""
    from model.checkpoints.manifest import committed_steps
    from model.observers.losses import read_losses
    from model.supervision.logbook import read_logbook
    from model.supervision.progress import read_progress
    from tasks.runs import read_run_record

    config = read_run_record(opened, run)
    resumed = [one["step"] for one in read_logbook(opened, run) if one["event"] == "resume"]
    progress = read_progress(opened, run)
    records = read_losses(opened, run)
    losses = [round(one.loss, 4) for one in records if one.loss is not None]
    validated = [round(one.validation_loss, 4) for one in records if one.validation_loss is not None]
    return {
        "label": config.label,
        "origin": None if config.origin is None else config.origin.to_plain(),
        "state": progress.state if progress else "created",
        "step": progress.step if progress else 0,
        "steps": config.steps,
        "tokens": progress.tokens if progress else 0,
        "first_loss": losses[0] if losses else None,
        "loss": losses[-1] if losses else None,
        "validation_loss": validated[-1] if validated else None,
        "skipped": sum(one.skipped for one in records),
        # The first launch of a run with an origin resumes the origin's checkpoint.
        "resumed": resumed if config.origin is None else resumed[1:],
        "checkpoints": committed_steps(opened, run),
    }
