"""`millrace plan mixture`: the real proportions and passes of each source in a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import friendly_errors, output, print_json, print_table


def mixture(
    steps: Annotated[int, typer.Option(help="Steps of the run.", min=1)],
    batch: Annotated[int, typer.Option(help="Sequences per step.", min=1)],
    sequence_length: Annotated[int, typer.Option(help="Tokens per sequence.", min=1)],
    corpus: Annotated[str | None, parameters.CORPUS.option("--corpus")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Show what a run reads of each source, beside the recipe's shares: tokens, share and passes.

    `millrace plan mixture --corpus corpus/llama --steps 1000 --batch 512 --sequence-length 2048`
    """
    with friendly_errors(as_json):
        from tasks.builds import find_build
        from tasks.mixture_plan import plan_mixture
        from tasks.token_artifact import read_summary

        opened = open_lake(lake)
        summary = read_summary(opened, find_build(opened, corpus).manifest(opened, "tokens"))
        found = plan_mixture(summary, steps * batch, sequence_length)
        left = [name for name in summary["mixture"] if name not in {one.source for one in found}]
        if as_json:
            print_json({"sources": [asdict(one) for one in found], "too_short": left})
            return
        rows = [
            [one.source, f"{one.wanted_share:.2%}", f"{one.share:.2%}", one.tokens, one.read, f"{one.epochs:.2f}"]
            for one in found
        ]
        print_table(
            f"{steps:,} steps of {batch:,} sequences of {sequence_length:,} tokens",
            ["source", "share, recipe", "share, run", "tokens", "read", "passes"],
            rows,
        )
        if left:
            output.print(f"without a whole sequence, so a run refuses them: {', '.join(left)}", style="bold yellow")
        most = max((one.epochs for one in found), default=0.0)
        if most > 1:
            output.print(f"A run needs --set epochs={int(-(-most // 1))} to read its sources so often.")
