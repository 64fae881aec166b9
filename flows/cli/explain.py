"""`millrace explain`: the whole life of a document."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import fail, friendly_errors, output, print_json


def explain(
    document: Annotated[str, typer.Argument(help="The id or the URL of a document.")],
    build: Annotated[str | None, typer.Option(help="A build by name or key; the newest without it.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Tell the whole life of a document: where it came from, what was found out, and why it is in or out."""
    with friendly_errors(as_json), tempfile.TemporaryDirectory(prefix="millrace-") as cache:
        from infra.builds import find_build
        from infra.life import lives_of
        from tasks.index import find_documents

        opened = open_lake(lake)
        record = find_build(opened, build)
        lives = lives_of(opened, record, document, find_documents, Path(cache))
        if not lives:
            fail(
                f"no document of the build {record.key[:12]} has the id or URL {document}. Records that the source "
                "dropped are no documents: `millrace ledger` counts them by reason.",
                as_json,
            )
        if as_json:
            print_json({"build": record.key, "documents": [life.to_json() for life in lives]})
            return
        for life in lives:
            _tell(life.to_json(), record.recipe["rules"])


def _tell(life: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    output.print(f"\n[bold]{life['id']}[/]")
    output.print(f"  {life['url'] or 'no URL'}, {life['date'] or 'no date'}")
    offset = life["metadata"].get("offset")
    place = f", byte {offset:,} of the archive" if isinstance(offset, int) else ""
    output.print(f"  read into {life['shard']}, row {life['row']:,}{place}; {life['characters']:,} characters")
    for stage, columns in life["stages"].items():
        output.print(f"  [bold]{stage}[/]")
        for line in _stage_lines(stage, columns, rules, life):
            output.print(f"    {line}", markup=False)
    colour = "green" if life["fate"] == "kept" else "yellow"
    output.print(f"  [bold {colour}]{_fate_words(life['fate'])}[/]")


def _stage_lines(stage: str, columns: dict[str, Any], rules: list[dict[str, Any]], life: dict[str, Any]) -> list[str]:
    if stage == "paragraphs":
        left = life["characters_viewed"]
        return [f"{columns['struck']} of {columns['lines']} lines struck; {left:,} characters are left"]
    if stage == "near_duplicates" and columns["cluster"] is None:
        return ["no near-duplicate was found"]
    if stage == "near_duplicates":
        return [
            f"one of {columns['size']} in the cluster {columns['cluster']}",
            f"closest: {columns['match']}, Jaccard {columns['jaccard']}",
        ]
    lines = []
    for column, value in columns.items():
        asked = [rule for rule in rules if rule["stage"] == stage and rule["column"] == column]
        bounds = "; ".join(_bounds(rule) for rule in asked)
        if value is not None or asked:
            lines.append(f"{column} = {value}" + (f"   ({bounds})" if bounds else ""))
    return lines


def _bounds(rule: dict[str, Any]) -> str:
    words = {"at_least": "at least", "at_most": "at most", "one_of": "one of"}
    given = [f"{words[name]} {rule[name]}" for name in words if rule[name] is not None]
    return f"{rule['reason']}: {', '.join(given)}"


def _fate_words(fate: str) -> str:
    if fate == "kept":
        return "It is in the corpus."
    stage, kind, reason = fate.split(":")
    return f"It is not in the corpus: {kind} by {stage}, {reason}."
