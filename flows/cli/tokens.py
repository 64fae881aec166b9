"""`millrace tokenize`: tokens anew from a corpus that is there."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, output, print_json, progress_bars


def tokenize(
    corpus: Annotated[str, typer.Argument(help="A build by name or key.")],
    tokenizer: Annotated[str | None, typer.Option(help="A tokenizer file, such as GPT-NeoX's.")] = None,
    vocabulary_size: Annotated[int | None, typer.Option(help="Fit one of this size in place of it.")] = None,
    held_out_every: Annotated[int | None, typer.Option(help="Hold every n-th document out; 0 for none.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for the new build, such as corpus/neox.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = os.cpu_count() or 1,
    as_json: JsonOption = False,
) -> None:
    """Encode a corpus with another tokenizer; its documents are not selected again."""
    with friendly_errors(as_json):
        from flows.recipe import with_tokens
        from infra.store.names import check_name
        from tasks.builds import find_build

        # What is wrong is told before a server is started, and before all the work.
        if name is not None:
            check_name(name)
        found = find_build(open_lake(lake), corpus)
        with_tokens(found.recipe, tokenizer, vocabulary_size, held_out_every)
        with progress_bars(as_json) as show, prefect_server():
            from flows.tokenize import tokenize_corpus
            from infra.progress import watched_by

            with watched_by(show):
                record = tokenize_corpus(corpus, lake, workers, tokenizer, vocabulary_size, held_out_every, name)
        if as_json:
            wanted = ("key", "digest", "documents", "tokens")
            print_json({**{field: record[field] for field in wanted}, "name": name})
            return
        output.print(
            f"{record['documents']:,} documents, {record['tokens']:,} tokens: build [bold]{record['key'][:12]}[/]"
        )
