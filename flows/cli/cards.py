"""`millrace card` and `millrace disclose`: what a corpus, or a run, is made of, for people outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import errors, friendly_errors, output, print_json

if TYPE_CHECKING:
    from infra.store.lake import Lake

FolderOption = Annotated[Path | None, typer.Option("--folder", help="Folder of the files. Default: cards/NAME.")]


def card(
    corpus: Annotated[str | None, parameters.CORPUS.argument()] = None,
    folder: FolderOption = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Write the card of a corpus: Markdown, HTML and Croissant metadata.

    `millrace card corpus/crawl`
    """
    with friendly_errors(as_json):
        from infra.scratch import scratch_folder
        from tasks.builds import find_build
        from tasks.cards.files import write_card

        opened = open_lake(lake)
        build = find_build(opened, corpus)
        name = corpus or f"corpus/{build.recipe['name']}"
        with scratch_folder() as cache:
            files = write_card(opened, build, name, folder or _folder(name), cache)
    _tell(files, as_json)


def disclose(
    what: Annotated[str, typer.Argument(help="Name or key of a build, or key of a run.")],
    statements: Annotated[
        Path | None,
        typer.Option("--statements", help="YAML file of what no artifact knows, such as the provider's name."),
    ] = None,
    folder: FolderOption = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Write the EU's public summary of training content for a corpus or a run. Missing fields are named.

    `millrace disclose corpus/crawl --statements provider.yaml`
    """
    with friendly_errors(as_json):
        from infra.scratch import scratch_folder
        from tasks.builds import find_build
        from tasks.cards.files import build_of_run, write_disclosure
        from tasks.cards.statements import Statements, read_statements

        opened = open_lake(lake)
        stated = read_statements(statements) if statements is not None else Statements()
        with scratch_folder() as cache:
            run = _run(opened, what)
            build = find_build(opened, what) if run is None else build_of_run(opened, run, cache)
            name = what if run is None else f"run/{run[:12]}"
            files, found = write_disclosure(opened, build, name, run, stated, folder or _folder(name), cache)
    _tell(files, as_json, missing=[f"{field.section}: {field.title}" for field in found.missing])
    if found.missing and not as_json:
        errors.print(
            f"{len(found.missing)} of {len(found.fields)} fields are missing; the summary says how to supply them.",
            style="bold yellow",
        )


def _run(lake: Lake, what: str) -> str | None:
    """The key of the run that `what` means; None if it is a build."""
    from infra.store.errors import StoreError
    from tasks.builds import find_build
    from tasks.runs import find_run

    try:
        find_build(lake, what)
    except StoreError as unknown:
        if "/" in what:
            raise
        try:
            return find_run(lake, what)
        except StoreError as error:
            raise StoreError(f"{what} is neither a build nor a run of {lake.uri}: {unknown}; {error}") from error
    return None


def _folder(name: str) -> Path:
    return Path("cards") / name.replace("/", "-")


def _tell(files: list[Path], as_json: bool, **more: object) -> None:
    if as_json:
        print_json({"files": [str(file) for file in files], **more})
        return
    for file in files:
        output.print(str(file), soft_wrap=True)
