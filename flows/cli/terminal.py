"""Output of commands: progress bars and errors on standard error; tables or one JSON object on standard output."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from infra.visible import visible


class SafeConsole(Console):
    """A console that shows strings as they are: without markup, and with control characters made visible.

    What it prints comes from pages, file names and lakes. Use `styled` for text with styles.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """See `rich.console.Console.render_str`."""
        return super().render_str(visible(text), **options)


errors = SafeConsole(stderr=True)
output = SafeConsole()


class CommandFailed(typer.Exit):
    """End the command with status 1; the message has already been shown."""

    def __init__(self, code: int = 1) -> None:
        super().__init__(code)


@contextmanager
def friendly_errors(as_json: bool, status: Callable[[Exception], int] = lambda error: 1) -> Iterator[None]:
    """Turn known errors into one short message and an exit status.

    Unknown errors, and all errors with MILLRACE_DEBUG set, show the whole traceback.
    """
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        fail("Stopped. Run the same command to resume.", as_json, code=130)
    except Exception as error:
        if os.environ.get("MILLRACE_DEBUG"):
            raise
        if _is_refused(error):
            server = os.environ.get("PREFECT_API_URL", "")
            fail(f"The server {server} requires a password: set PREFECT_API_AUTH_STRING to USER:PASSWORD.", as_json)
        if not is_known(error):
            raise
        fail(str(error), as_json, status(error))


def fail(message: str, as_json: bool, code: int = 1) -> None:
    """Show a message and end with `code`."""
    errors.print(message, style="bold red", soft_wrap=True)
    if as_json:
        print_json({"error": message})
    raise CommandFailed(code)


def is_known(error: BaseException) -> bool:
    """Whether the error class is defined in this project; its message then names the cause and the cure."""
    return type(error).__module__.partition(".")[0] in ("infra", "tasks", "model", "flows")


def _is_refused(error: Exception) -> bool:
    """Whether a Prefect server refused the password. Prefect is imported only by commands that use a server."""
    if "prefect.exceptions" not in sys.modules:
        return False
    from prefect.exceptions import PrefectHTTPStatusError

    return isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 401


def print_json(value: Any) -> None:
    """Print one JSON object as the last line of standard output."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def json_text(value: Any) -> str:
    """`value` as JSON (RFC 8259) in ASCII, whatever strings and numbers it holds.

    NaN and infinities are null. Lone surrogates, for example of a file name that is not UTF-8, are U+FFFD.
    """
    return json.dumps(_valid(value), allow_nan=False)


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_valid(key) if isinstance(key, str) else key: _valid(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(item) for item in value]
    return value


def styled(template: str, *values: object) -> Text:
    """`template` with Rich's markup, and `values` in the place of each ``{}``, in which markup means nothing."""
    return Text.from_markup(template.format(*(escape(visible(str(value))) for value in values)))


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; numbers are right-aligned with thousands separators."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        right = bool(rows) and all(isinstance(row[number], (int, float)) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, (int, float)) else str(cell) for cell in row))
    output.print(table)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Any]:
    """A progress listener that draws one bar per step; draws nothing when `quiet`."""
    if quiet:
        yield lambda label, done, total, note="": None
        return
    label, note = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[note]"))
    columns = (label, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), note)
    with Progress(*columns, console=errors) as bars:
        known: dict[str, TaskID] = {}

        def show(label: str, done: int, total: int, note: str = "") -> None:
            if label not in known:
                known[label] = bars.add_task(visible(label), total=total, note="")
            bars.update(known[label], completed=done, total=total, note=visible(note))

        yield show
