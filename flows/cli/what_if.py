"""`millrace what-if`: what a changed recipe would keep, from the annotations of a build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, DEFAULT_WORKERS, JsonOption, LakeOption, SettingsOption, WorkersOption
from flows.cli.terminal import errors, friendly_errors, output, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from tasks.builds import BuildRecord
    from tasks.recipe.difference import Difference
    from tasks.what_if.preview import Preview

_SHOWN_CHARACTERS = 100
_MOST_GROUPS = 40


def what_if(
    recipe: Annotated[str, parameters.RECIPE.argument()],
    settings: SettingsOption = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="Name or key of the build. Default: corpus/RECIPE.")
    ] = None,
    lake: LakeOption = DEFAULT_LAKE,
    workers: WorkersOption = DEFAULT_WORKERS,
    as_json: JsonOption = False,
) -> None:
    """Show what a changed recipe would keep, in seconds: documents and tokens, and documents that would change.

    `millrace what-if crawl --set rules.word_count.at_least=100`
    """
    with friendly_errors(as_json), progress_bars(as_json) as show:
        from flows.recipe import load_recipe, read_recipe
        from infra.engine.choice import open_engine
        from infra.scratch import scratch_folder
        from infra.store.errors import StoreError
        from tasks.builds import find_build
        from tasks.what_if.preview import preview

        opened = open_lake(lake)
        try:
            build = find_build(opened, corpus or f"corpus/{read_recipe(recipe).name}")
        except StoreError as error:
            if corpus is None:
                raise StoreError(f"{error}. Name the build with --corpus") from error
            raise
        changed = load_recipe(recipe, settings or [], _inputs(build), skip_missing=True)
        with open_engine(workers) as engine, scratch_folder() as cache:
            found = preview(opened, engine, build, changed, cache, show)
    if as_json:
        print_json(found.to_json())
        return
    _show(found)


def _inputs(build: BuildRecord) -> list[str]:
    """The inputs of a build, as options: a source that it left out is left out again."""
    recipe = build.recipe
    sections = {**recipe["sources"], **recipe.get("references", {})}
    return [f"{name}={path}" for name, section in sections.items() for path in section["inputs"]]


def _show(found: Preview) -> None:
    output.print(f"build {found.build[:12]}: what the recipe would keep, and what it kept")
    if not found.differences:
        errors.print("The recipe is that of the build: nothing changes.", style="bold yellow")
    for difference in found.differences:
        output.print(f"  {_difference_words(difference)}")
    shown = [(name, amount) for name, amount in found.groups if amount.documents or amount.documents_then]
    rows = [[*_names(name), *_amounts(amount)] for name, amount in shown[:_MOST_GROUPS]]
    columns = ["source", "language", "bucket", "documents", "tokens"]
    print_table("Kept", columns, [*rows, ["all", "", "", *_amounts(found.total)]])
    if len(shown) > _MOST_GROUPS:
        output.print(f"{len(shown) - _MOST_GROUPS:,} smaller groups are in --json")
    changes = [
        [change.source, _outcome(change.before), _outcome(change.after), change.documents, change.tokens]
        for change in found.changes
    ]
    if changes:
        print_table("Documents that change", ["source", "is", "would be", "documents", "tokens"], changes)
    for change in found.changes:
        output.print(f"\n{change.source}: {_outcome(change.before)} → {_outcome(change.after)}", style="bold")
        for sample in change.samples:
            document = sample.document
            values = ", ".join(f"{column} = {value}" for column, value in document.values.items())
            output.print(f"  {document.url or document.id}  {values}", soft_wrap=True)
            output.print(f"    {' '.join(sample.text.split())[:_SHOWN_CHARACTERS]}", soft_wrap=True)
    for note in found.notes:
        output.print(note)


def _difference_words(difference: Difference) -> str:
    return f"{difference.path}: {difference.left} → {difference.right}"


def _outcome(name: str) -> str:
    step, colon, rest = name.partition(":")
    return f"{rest.partition(':')[2]} ({step})" if colon else name


def _names(name: Any) -> list[str]:
    return [name.source, name.language or "", name.bucket or ""]


def _amounts(amount: Any) -> list[str]:
    pairs = ((amount.documents, amount.documents_then), (amount.tokens, amount.tokens_then))
    return [f"{now:,}" if now == then else f"{now:,} → {then:,} ({then - now:+,})" for now, then in pairs]
