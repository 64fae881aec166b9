"""`millrace train` and `millrace runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption, SettingsOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, output, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from infra.store.lake import Lake


def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or a preset such as tiny-pythia.")],
    corpus: Annotated[str | None, typer.Option(help="A build by name or key; the newest without it.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model on a corpus, or go on with a run that was interrupted.

    `millrace train tiny-pythia --corpus corpus/demo --set training.steps=200`
    """
    with friendly_errors(as_json):
        from flows.training import load_training

        # A wrong config or lake is told before a server is started for it.
        load_training(config, settings or [])
        opened = open_lake(lake)
        with progress_bars(as_json) as show, prefect_server():
            from flows.train import train_model
            from infra.progress import watched_by

            with watched_by(show):
                result = train_model(config=config, corpus=corpus, lake=lake, settings=settings or [])
        summary = {**result, **_summary(opened, result["run"])}
    if as_json:
        print_json(summary)
        return
    output.print(f"run [bold]{summary['run'][:12]}[/]: {summary['step']:,} steps, {summary['tokens']:,} tokens")
    output.print(f"loss {summary['first_loss']} → {summary['loss']}; checkpoints at {summary['checkpoints']}")


def runs(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """List the training runs of a lake."""
    with friendly_errors(as_json):
        from infra.runs import run_keys

        opened = open_lake(lake)
        found = [{"run": key, **_summary(opened, key)} for key in run_keys(opened)]
        if as_json:
            print_json({"runs": found})
            return
        rows = [
            [run["run"][:12], run["state"], f"{run['step']} of {run['steps']}", run["loss"], len(run["checkpoints"])]
            for run in found
        ]
        print_table("Runs", ["run", "state", "step", "loss", "checkpoints"], rows)


def _summary(opened: Lake, run: str) -> dict[str, Any]:
    from model.checkpoint import committed_steps
    from model.losses import read_losses
    from model.progress import read_progress

    progress = read_progress(opened, run)
    losses = read_losses(opened, run)
    return {
        "state": progress.state if progress else "created",
        "step": progress.step if progress else 0,
        "steps": progress.steps if progress else 0,
        "tokens": progress.tokens if progress else 0,
        "first_loss": round(losses[0].loss, 4) if losses else None,
        "loss": round(losses[-1].loss, 4) if losses else None,
        "checkpoints": committed_steps(opened, run),
    }
