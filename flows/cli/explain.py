"""`millrace explain`: the history of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import fail, friendly_errors, output, print_json, styled
from infra.scratch import scratch_folder

if TYPE_CHECKING:
    from tasks.builds import BuildRecord
    from tasks.report.history import DocumentHistory


def explain(
    document: Annotated[str, typer.Argument(help="Id or URL of a document.")],
    build: Annotated[str | None, parameters.CORPUS.option()] = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Show the history of a document: its origin, the results of each step, and why it is in or out."""
    with friendly_errors(as_json), scratch_folder() as cache:
        from tasks.builds import find_build
        from tasks.report.history import histories_of

        opened = open_lake(lake)
        record = find_build(opened, build)
        record.require_documents()
        found = histories_of(opened, record, document, cache)
        if not found:
            fail(
                f"no document of the build {record.key[:12]} has the id or URL {document}. Records that the source "
                "dropped do not become documents; `millrace ledger` counts them by reason.",
                as_json,
            )
        if as_json:
            print_json({"build": record.key, "documents": [history.to_json() for history in found]})
            return
        for history in found:
            _tell(record, history)


def _tell(record: BuildRecord, history: DocumentHistory) -> None:
    from tasks.report.history import stage_of

    life = history.to_json()
    rules = record.recipe["sources"][history.source]["rules"]
    output.print(styled("\n[bold]{}[/]", life["id"]))
    output.print(f"  {life['url'] or 'no URL'}, {life['date'] or 'no date'}")
    offset = life["metadata"].get("offset")
    place = f", byte {offset:,} of the archive" if isinstance(offset, int) else ""
    output.print(f"  stored in {life['shard']}, row {life['row']:,}{place}; {life['characters']:,} characters")
    for step, columns in life["stages"].items():
        stage = stage_of(record, history.source, step)
        output.print(styled("  [bold]{}[/]", step))
        described = stage.describe(columns) if stage is not None and stage.describe is not None else []
        for line in described or _column_lines(step, columns, rules):
            output.print(f"    {line}")
        if stage is not None and stage.gives_edits:
            output.print(f"    {life['characters_viewed']:,} characters remain after all edits")
    colour = "green" if life["fate"] == "kept" else "yellow"
    output.print(styled(f"  [bold {colour}]{{}}[/]", _outcome_words(life["fate"])))
    if life["compared"]:
        output.print(f"    {_compared_words(life)}")


def _column_lines(step: str, columns: dict[str, Any], rules: list[dict[str, Any]]) -> list[str]:
    lines = []
    for column, value in columns.items():
        asked = [rule for rule in rules if rule["column"] == f"{step}.{column}"]
        bounds = "; ".join(_bounds(rule) for rule in asked)
        if value is not None or asked:
            lines.append(f"{column} = {value}" + (f"   ({bounds})" if bounds else ""))
    return lines


def _bounds(rule: dict[str, Any]) -> str:
    from tasks.corpus.rules import Rule

    asked = Rule.model_validate(rule)
    return ", ".join([f"{asked.reason}: {asked.words}", *asked.conditions])


def _compared_words(life: dict[str, Any]) -> str:
    compared = life["compared"]
    alike = "the same by that step" if compared["similarity"] is None else f"{compared['similarity']:.3f} alike"
    lost = "" if compared["lost"] is None else f"; {compared['lost']:,} of its 3-grams are lost"
    match = f"{compared['match']} of an earlier build" if compared["match_known"] else compared["match"]
    if life["fate"] != "kept":
        return f"{match} stands for it: {alike}{lost}"
    return f"most like {match}: {alike}"


def _outcome_words(fate: str) -> str:
    if fate == "kept":
        return "It is in the corpus."
    stage, kind, reason = fate.split(":")
    return f"It is not in the corpus: {kind} by {stage}, {reason}."
