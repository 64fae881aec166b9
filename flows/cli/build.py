"""`millrace build`: a corpus and its tokens from a recipe."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from flows import parameters
from flows.cli.options import DEFAULT_LAKE, DEFAULT_WORKERS, JsonOption, LakeOption, SettingsOption, WorkersOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import errors, friendly_errors, output, print_json, print_table, progress_bars, styled
from infra.outcomes import OVER_BUDGET

if TYPE_CHECKING:
    from tasks.recipe.resolved import ResolvedRecipe


def build(
    recipe: Annotated[list[str], parameters.RECIPE.argument()],
    inputs: Annotated[list[str] | None, parameters.INPUTS.option("--input")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    workers: WorkersOption = DEFAULT_WORKERS,
    settings: SettingsOption = None,
    cluster: Annotated[str | None, parameters.CLUSTER.option()] = None,
    name: Annotated[str | None, parameters.CORPUS_NAME.option()] = None,
    skip_missing: Annotated[bool, parameters.SKIP_MISSING.option("--skip-missing")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build a corpus and its tokens. Artifacts that the lake already has are reused.

    `millrace build crawl --input 'crawl/*.warc.gz'`
    """
    # `--input a b c`: when the shell expands a glob, all names but the first arrive as further arguments.
    chosen, *more = recipe
    with friendly_errors(as_json), progress_bars(as_json) as show:
        from flows.recipe import load_recipe, require_inputs
        from infra.store.names import check_name

        # Reject a wrong recipe before starting a server.
        if name is not None:
            check_name(name)
        given = [*(inputs or []), *more]
        resolved = load_recipe(chosen, settings or [], given, skip_missing=skip_missing)
        require_inputs(resolved)
        if skip_missing and not as_json:
            _tell_missing(chosen, resolved)
        with prefect_server():
            record = _run(
                show,
                recipe=chosen,
                inputs=given,
                lake=lake,
                workers=workers,
                settings=settings or [],
                cluster=cluster,
                name=name,
                skip_missing=skip_missing,
            )
    warnings = _warnings(record)
    for warning in warnings:
        errors.print(warning, style="bold yellow", soft_wrap=True)
    if as_json:
        print_json({**_result(record, lake), "warnings": warnings})
        return
    print_funnels(record["ledger"], record["source_ledgers"])
    output.print(f"\n{record['documents']:,} documents, {record['tokens']:,} tokens in {record['seconds']:,} s")
    output.print(styled("build [bold]{}[/], named {}", record["key"][:12], record["name"]))


def _tell_missing(recipe: str, resolved: ResolvedRecipe) -> None:
    from flows.recipe import left_out, read_recipe

    if told := left_out(read_recipe(recipe), resolved):
        errors.print(told, style="bold yellow", soft_wrap=True)


def print_funnels(whole: list[dict[str, Any]], by_source: dict[str, list[dict[str, Any]]]) -> None:
    """Show the funnel of all sources and, if there are several, a table by source and stage."""
    print_funnel(whole)
    if len(by_source) > 1:
        rows = [
            [name, entry["stage"], entry["documents_in"], entry["documents_kept"]]
            for name, entries in by_source.items()
            for entry in entries
        ]
        print_table("Source by source", ["source", "stage", "in", "kept"], rows)


def print_funnel(ledger: list[dict[str, Any]]) -> None:
    """Show a funnel: the documents that each stage kept, then the removed ones by reason."""
    rows = [
        [
            entry["stage"],
            entry["documents_in"],
            entry["documents_kept"],
            entry["documents_in"] - entry["documents_kept"],
            entry["bytes_in"],
        ]
        for entry in ledger
    ]
    print_table("What became of every record", ["stage", "in", "kept", "out", "bytes in"], rows)
    for step, count in _undated(ledger):
        output.print(f"{step}: {count:,} dates cannot be read; these documents were as without a date, and came last")
    if out := _out(ledger):
        print_table("Removed records by reason", ["stage", "outcome", "reason", "documents"], out)
        if lost := _lost(ledger):
            columns = ["step", "words out", "3-grams lost", "lost per million words"]
            print_table("What near-duplicates took with them", columns, lost)
        if any(reason.rpartition(":")[2] == OVER_BUDGET for _, _, reason, _ in out):
            output.print(
                f"{OVER_BUDGET}: these records took more time or memory than a worker has for one, or crashed it. That "
                "depends on the machine; the lake keeps it under verdicts/, so that its builds agree."
            )


def _lost(ledger: list[dict[str, Any]]) -> list[list[Any]]:
    from tasks.report.funnel import FunnelEntry

    entries = [FunnelEntry(**entry) for entry in ledger]
    return [
        [
            entry.stage,
            entry.measures["dropped_words"],
            entry.measures["lost_3_grams"],
            round(entry.lost_per_million_words),
        ]
        for entry in entries
        if entry.lost_per_million_words is not None
    ]


def _undated(ledger: list[dict[str, Any]]) -> list[tuple[str, int]]:
    found = [(entry["stage"], entry.get("measures", {}).get("unreadable_dates", 0)) for entry in ledger]
    return [(step, count) for step, count in found if count]


def _out(ledger: list[dict[str, Any]]) -> list[list[Any]]:
    return [
        [entry["stage"], fate, reason, count]
        for entry in ledger
        for fate in ("dropped", "failed")
        for reason, count in entry[fate].items()
    ]


def _warnings(record: dict[str, Any]) -> list[str]:
    """Warnings about a build that succeeded but is probably not what the user wants."""
    if record["documents"]:
        return []
    read, out = record["ledger"][0]["documents_in"], _out(record["ledger"])
    if not out:
        return ["The corpus is empty: the inputs have no records. Check that the recipe's reader fits their format."]
    stage, fate, reason, count = max(out, key=lambda row: row[-1])
    return [
        f"The corpus is empty: none of {read:,} records was kept. The main reason is {reason}: {count:,} {fate} "
        f"by {stage}. `millrace ledger {record['name']}` lists all reasons."
    ]


def _run(show: Any, **parameters: Any) -> dict[str, Any]:
    from flows.build import build_corpus
    from infra.progress import watched_by

    started = time.monotonic()
    with watched_by(show):
        record = build_corpus(**parameters)
    return {**record, "seconds": round(time.monotonic() - started, 2)}


def _result(record: dict[str, Any], lake: str) -> dict[str, Any]:
    from infra.store.lake import Lake

    return {
        "uri": f"{Lake.open(lake).uri}/builds/{record['key']}.json",
        "digest": record["digest"],
        "key": record["key"],
        "name": record["name"],
        "documents": record["documents"],
        "tokens": record["tokens"],
        "ledger": record["ledger"],
        "source_ledgers": record["source_ledgers"],
        "artifacts": {
            name: {"stage": stage, "key": key, "digest": record["digests"][name]}
            for name, (stage, key) in record["artifacts"].items()
        },
        "seconds": record["seconds"],
    }
