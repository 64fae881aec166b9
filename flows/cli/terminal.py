"""What a command shows: progress bars and tables for people on standard error, one JSON object on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

errors = Console(stderr=True, highlight=False)
output = Console(highlight=False)


class CommandFailed(typer.Exit):
    """The command ends with status 1, its message having been shown."""

    def __init__(self, code: int = 1) -> None:
        super().__init__(code)


@contextmanager
def friendly_errors(as_json: bool, status: Callable[[Exception], int] = lambda error: 1) -> Iterator[None]:
    """Turn the errors that we know into one short message and an exit status.

    With MILLRACE_DEBUG set, or for errors that nobody foresaw, the whole traceback is shown.
    """
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        fail("Stopped. The same command goes on where this one was.", as_json, code=130)
    except Exception as error:
        if os.environ.get("MILLRACE_DEBUG") or not is_known(error):
            raise
        fail(str(error), as_json, status(error))


def fail(message: str, as_json: bool, code: int = 1) -> None:
    """Show a message and end with `code`."""
    errors.print(message, style="bold red", markup=False, soft_wrap=True)
    if as_json:
        print_json({"error": message})
    raise CommandFailed(code)


def is_known(error: BaseException) -> bool:
    """Whether the error is one of ours, whose message names the cause and the cure."""
    return type(error).__module__.partition(".")[0] in ("infra", "tasks", "model", "flows")


def print_json(value: Any) -> None:
    """Print one JSON object as the last line of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print rows for people; numbers stand right, with thousands set off."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        right = bool(rows) and all(isinstance(row[number], (int, float)) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, (int, float)) else str(cell) for cell in row))
    output.print(table)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Any]:
    """A listener that draws a bar for each step of the work; nothing when `quiet`."""
    if quiet:
        yield lambda label, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors) as bars:
        known: dict[str, TaskID] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in known:
                known[label] = bars.add_task(label, total=total)
            bars.update(known[label], completed=done, total=total)

        yield show
