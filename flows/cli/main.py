"""`millrace`: build, train, evaluate, and inspect the lake."""

from __future__ import annotations

from collections.abc import Callable

import typer

from flows.cli.build import build
from flows.cli.cards import card, disclose
from flows.cli.compare import compare
from flows.cli.cost import cost
from flows.cli.demo import demo
from flows.cli.doctor import doctor
from flows.cli.evaluate import evaluate
from flows.cli.explain import explain
from flows.cli.importing import import_commands
from flows.cli.lake import artifacts, gc, lake_commands, ledger, verify
from flows.cli.launching import launch_commands
from flows.cli.plan import plan_commands
from flows.cli.recipes import recipe_commands
from flows.cli.report import report
from flows.cli.runs import change, save_now, stop
from flows.cli.server import deploy, up
from flows.cli.tokens import tokenize
from flows.cli.trace import trace
from flows.cli.train import runs, train
from flows.cli.weights import export, generate
from flows.cli.what_if import what_if

LINE, TRAINING, CHECKPOINTS, LAKE, SERVER = "The pipeline", "Training", "Checkpoints", "The lake", "The dashboard"
COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    LINE: (demo, build, tokenize, what_if, train, evaluate, report, explain, card, disclose),
    TRAINING: (runs, stop, save_now, change, compare, trace, cost),
    CHECKPOINTS: (generate, export),
    LAKE: (artifacts, ledger, verify, gc, doctor),
    SERVER: (up, deploy),
}

application = typer.Typer(
    name="millrace",
    help="From raw crawl to evaluated checkpoints: a data and training pipeline that accounts for every record.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for panel, commands in COMMANDS.items():
    for command in commands:
        application.command(rich_help_panel=panel)(command)
application.add_typer(import_commands, name="import", help="Import what others made.", rich_help_panel=CHECKPOINTS)
application.add_typer(plan_commands, name="plan", help="Plan the cost of a build or a run.", rich_help_panel=TRAINING)
application.add_typer(
    launch_commands, name="launch", help="Start a run on your own machines.", rich_help_panel=TRAINING
)
application.add_typer(lake_commands, name="lake", help="Maintain a lake.", rich_help_panel=LAKE)
application.add_typer(recipe_commands, name="recipe", help="Inspect recipes.", rich_help_panel=LINE)


def main() -> None:
    """The entry point of the `millrace` script."""
    application()
