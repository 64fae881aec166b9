"""`millrace trace`: the data that a training step read, and the steps that read a document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import fail, friendly_errors, output, print_json, styled
from infra.scratch import scratch_folder


def trace(
    run: Annotated[str, typer.Argument(help="Key of a run, or its first characters.")],
    step: Annotated[int | None, typer.Option(help="List what step N read; steps count from 1.", min=1)] = None,
    document: Annotated[str | None, typer.Option(help="List the steps that read this document (id or URL).")] = None,
    batch: Annotated[int | None, typer.Option(help="Write batch N, which step N + 1 read.", min=0)] = None,
    out: Annotated[Path | None, typer.Option(help="Output file: .npy for an array, or .bin (adds .idx).")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Show what a step of a run read or which steps read a document, or write a batch exactly as it was read.

    Steps count from 1 and batches from 0: step N read batch N - 1. The checkpoint of step N has seen batches 0 … N - 1.
    """
    with friendly_errors(as_json), scratch_folder() as cache:
        if sum(asked is not None for asked in (step, document, batch)) != 1:
            fail("give exactly one of --step N, --document ID, or --batch N --out FILE", as_json, code=2)
        if (batch is None) != (out is None):
            fail("--batch N and --out FILE must be given together", as_json, code=2)
        from tasks.tracing.tracer import Tracer

        tracer = Tracer(open_lake(lake), run, cache)
        asked = tracer.run.config.key
        if step is not None:
            told, tell = tracer.step(step), _tell_step
        elif document is not None:
            told, tell = tracer.document(document), _tell_document
        elif batch is not None and out is not None:
            told, tell = tracer.write_batch(batch, out), _tell_batch
        if as_json:
            print_json(told)
            return
        tell(told, asked)


def _tell_step(told: dict[str, Any], asked: str) -> None:
    other = "" if told["run"] == asked else ", which this run continues,"
    output.print(f"{_step(told, asked)}{other} reads batch {told['batch']:,}{_state(told)}", style="bold")
    for sequence in told["sequences"]:
        epoch = "" if sequence["epoch"] is None else f", pass {sequence['epoch'] + 1}"
        output.print(styled("[bold]sequence {}[/] of {}{}", f"{sequence['sequence']:,}", sequence["source"], epoch))
        for span in sequence["documents"]:
            output.print(f"  {_place(span)}")


def _tell_document(told: dict[str, Any], asked: str) -> None:
    if len(told["documents"]) > 1:
        output.print(f"{len(told['documents'])} documents have the id or URL {told['name']}")
    for document in told["documents"]:
        _tell_sightings(document, told, asked)
    if (unknown := told["unknown"]) is not None:
        output.print(f"For the steps up to {unknown['last']:,}, this is unknown: {unknown['reason']}.")


def _tell_sightings(document: dict[str, Any], told: dict[str, Any], asked: str) -> None:
    tokens = "" if document["run"] == asked else f" in the tokens of run {document['run'][:12]}"
    place = f"document {document['document']:,} of {document['source']}{tokens}, {document['tokens']:,} tokens"
    output.print(f"{document['id']}: {place}", style="bold")
    first = 0 if told["unknown"] is None else told["unknown"]["last"]
    if document["split"] != "training":
        output.print(f"  It is held out for {document['split']}: no step trains on it.")
    elif not document["steps"]:
        output.print(f"  None of the {told['taken'] - first:,} steps so far has read it.")
    for sighting in document["steps"]:
        for span in sighting["spans"]:
            where = f"{_step(sighting, asked)}, sequence {sighting['sequence']:,}: {_tokens(span)}"
            output.print(f"  {where}{_state(sighting)}")


def _tell_batch(told: dict[str, Any], asked: str) -> None:
    output.print(
        f"batch {told['batch']:,}, read by {_step(told, asked)}{_state(told)}: sequences "
        f"{_stretches(told['sequences'])} in {', '.join(told['files'])}",
        markup=False,
    )


def _step(told: dict[str, Any], asked: str) -> str:
    """Name a step, with its run if that is one that the traced run continues."""
    run = "" if told["run"] == asked else f" of run {told['run'][:12]}"
    return f"step {told['step']:,}{run}"


def _state(told: dict[str, Any]) -> str:
    if not told.get("taken", True):
        return "; this step has not run yet"
    return "" if told["skipped"] is None else f"; its update was skipped: {told['skipped']}"


def _stretches(sequences: list[int]) -> str:
    """`40 to 43, 50 to 53`."""
    starts = [number for number, one in enumerate(sequences) if number == 0 or sequences[number - 1] != one - 1]
    pieces = [sequences[start:stop] for start, stop in zip(starts, [*starts[1:], None], strict=True)]
    return ", ".join(f"{piece[0]:,} to {piece[-1]:,}" for piece in pieces)


def _place(span: dict[str, Any]) -> str:
    name = span["id"] or f"document {span['document']:,}"
    address = f", {span['url']}" if span["url"] else ""
    return f"{_tokens(span)}: {name}{address}"


def _tokens(span: dict[str, Any]) -> str:
    """`tokens 0 to 99 are 40 to 139 of 300, bytes [170, 601)`: token ranges include both ends."""
    begin, end = span["offset"], span["offset"] + span["tokens"] - 1
    text = "" if span["bytes"] is None else f", bytes [{span['bytes'][0]:,}, {span['bytes'][1]:,})"
    here = f"tokens {span['start']:,} to {span['start'] + span['tokens'] - 1:,}"
    return f"{here} are {begin:,} to {end:,} of {span['size']:,}{text}"
