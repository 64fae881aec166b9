"""`millrace stop`, `save-now` and `change`: requests to a run in training."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import fail, friendly_errors, output, print_json, styled

if TYPE_CHECKING:
    from infra.store.lake import Lake
    from model.supervision.control import Answer

LIVE = ("starting", "training", "saving")
CHANGES = ("learning_rate", "learning_rate_factor", "clip")
# A run that has not reported for this long will not answer.
SILENCE_SECONDS = 600.0
WAIT_SECONDS = 0.5

RunArgument = Annotated[str, typer.Argument(help="Key of the run, or its first characters.")]
WhoOption = Annotated[str, typer.Option(help="Name stored with the request in the run's records.", show_default=False)]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the run's answer.")]
WHO = os.environ.get("USER", "unknown")


def stop(
    run: RunArgument,
    save: Annotated[bool, typer.Option("--save", help="Save a checkpoint first.")] = False,
    wait: WaitOption = False,
    who: WhoOption = WHO,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Ask a run to stop after its current step. Without --save it resumes from its newest checkpoint."""
    with friendly_errors(as_json):
        opened, key = find(run, lake)
        _require_live(opened, key, as_json)
        _ask(opened, key, "stop", wait, as_json, who=who, save=save)


def save_now(
    run: RunArgument,
    wait: WaitOption = False,
    who: WhoOption = WHO,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Ask a run to save a checkpoint after its current step."""
    with friendly_errors(as_json):
        opened, key = find(run, lake)
        _require_live(opened, key, as_json)
        _ask(opened, key, "save_now", wait, as_json, who=who)


def change(
    run: RunArgument,
    cause: Annotated[str, typer.Option(help="Reason, stored in the run's records.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help=f"NAME=NUMBER, where NAME is one of {', '.join(CHANGES)}; repeatable."),
    ] = None,
    skip: Annotated[str | None, typer.Option(help="FIRST:STOP, sequences to skip.")] = None,
    wait: WaitOption = False,
    who: WhoOption = WHO,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Change a run's learning rate or clip, or skip data, from the next step that no launch has taken.

    `millrace change 3f2a --set learning_rate=3e-5 --set clip=0.3 --cause "the norm rises"`
    """
    with friendly_errors(as_json):
        opened, key = find(run, lake)
        if bool(settings) == bool(skip):
            fail("Give either --set or --skip.", as_json)
        if _state(opened, key) == "finished":
            fail(f"run {key[:12]} is finished and cannot be changed", as_json)
        values = {"first": None, "stop": None} if skip else {}
        try:
            values |= _stretch(skip) if skip else _numbers(settings or [])
        except ValueError as error:
            fail(str(error), as_json)
        _ask(opened, key, "skip_data" if skip else "change", wait, as_json, who=who, cause=cause, **values)


def find(run: str, lake: str) -> tuple[Lake, str]:
    """Open an existing lake and find the run whose key starts with `run`; return both. Raises StoreError."""
    from tasks.runs import find_run

    opened = open_lake(lake)
    return opened, find_run(opened, run)


def _ask(opened: Lake, run: str, kind: str, wait: bool, as_json: bool, **values: Any) -> None:
    from model.supervision.control import ask

    try:
        request = ask(opened, run, kind, **values)
    except ValueError as error:
        fail(str(error), as_json)
        return
    answer = _wait(opened, run, request.id) if wait else None
    if wait and answer is None:
        fail(f"run {run[:12]} did not answer; `millrace runs` shows its state", as_json)
    if answer is not None and answer.outcome != "done":
        fail(f"run {run[:12]}: request {answer.outcome} at step {answer.step:,}: {answer.reason}", as_json)
    if as_json:
        told = None if answer is None else {"outcome": answer.outcome, "step": answer.step, "launch": answer.launch}
        print_json({"run": run, "request": request.id, "answer": told})
    elif answer is None:
        output.print(styled("request sent to run [bold]{}[/]; use --wait to wait for the answer", run[:12]))
    else:
        output.print(styled("run [bold]{}[/]: request done at step {}", run[:12], f"{answer.step:,}"))


def _wait(opened: Lake, run: str, request: str) -> Answer | None:
    """The answer to a request; None if the run ended or stopped reporting without an answer."""
    from model.supervision.control import read_answer
    from model.supervision.progress import read_progress

    while True:
        progress = read_progress(opened, run)
        # Read after the state: a run answers before it reports its end.
        if (answer := read_answer(opened, run, request)) is not None:
            return answer
        if progress is None or progress.state not in LIVE or time.time() - progress.updated > SILENCE_SECONDS:
            return None
        time.sleep(WAIT_SECONDS)


def _state(opened: Lake, run: str) -> str:
    from model.supervision.progress import read_progress

    progress = read_progress(opened, run)
    return "created" if progress is None else progress.state


def _require_live(opened: Lake, run: str, as_json: bool) -> None:
    if (state := _state(opened, run)) not in LIVE:
        fail(f"run {run[:12]} is not training: its state is {state!r}", as_json)


def _numbers(settings: list[str]) -> dict[str, Any]:
    values = {}
    for setting in settings:
        name, _, number = setting.partition("=")
        if name not in CHANGES:
            raise ValueError(f"--set {setting}: {name!r} is not one of {', '.join(CHANGES)}")
        try:
            values[name] = float(number)
        except ValueError as error:
            raise ValueError(f"--set {setting}: {number!r} is not a number") from error
    return values


def _stretch(skip: str) -> dict[str, Any]:
    first, _, stop = skip.partition(":")
    if not (first.isdecimal() and stop.isdecimal()):
        raise ValueError(f"--skip {skip}: give FIRST:STOP, such as 1000:2000 for sequences 1,000 to 1,999")
    return {"first": int(first), "stop": int(stop)}
