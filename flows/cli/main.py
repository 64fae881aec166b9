"""`millrace`: build, train, evaluate, and ask the lake what happened."""

from __future__ import annotations

import typer

from flows.cli.build import build
from flows.cli.demo import demo
from flows.cli.doctor import doctor
from flows.cli.evaluate import evaluate
from flows.cli.explain import explain
from flows.cli.lake import artifacts, gc, ledger, verify
from flows.cli.recipes import recipe_commands
from flows.cli.report import report
from flows.cli.tokens import tokenize
from flows.cli.train import runs, train

application = typer.Typer(
    name="millrace",
    help="From raw crawl to evaluated checkpoints: a data and training line with books that balance.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (demo, build, tokenize, train, evaluate, report, runs, ledger, explain, verify, artifacts, gc, doctor):
    application.command()(command)
application.add_typer(recipe_commands, name="recipe", help="Look at recipes.")


def main() -> None:
    """The entry point of the `millrace` script."""
    application()
