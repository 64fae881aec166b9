"""`millrace tokenize`: encode an existing corpus with another tokenizer."""

from __future__ import annotations

from typing import Annotated

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, DEFAULT_WORKERS, JsonOption, LakeOption, WorkersOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, output, print_json, progress_bars, styled


def tokenize(
    corpus: Annotated[str, parameters.CORPUS.argument()],
    tokenizer: Annotated[str | None, parameters.TOKENIZER.option()] = None,
    end_of_document: Annotated[str | None, parameters.END_OF_DOCUMENT.option()] = None,
    vocabulary_size: Annotated[int | None, parameters.VOCABULARY_SIZE.option()] = None,
    held_out_every: Annotated[int | None, parameters.HELD_OUT_EVERY.option()] = None,
    name: Annotated[str | None, parameters.BUILD_NAME.option()] = None,
    lake: LakeOption = DEFAULT_LAKE,
    workers: WorkersOption = DEFAULT_WORKERS,
    as_json: JsonOption = False,
) -> None:
    """Encode a corpus with another tokenizer. The selection of documents does not change."""
    with friendly_errors(as_json):
        from flows.recipe import with_tokens
        from infra.store.names import check_name
        from tasks.builds import find_build

        # Reject wrong options before starting a server.
        if name is not None:
            check_name(name)
        found = find_build(open_lake(lake), corpus)
        chosen = (tokenizer, vocabulary_size, held_out_every)
        with_tokens(found.recipe, *chosen, end_of_document)
        with progress_bars(as_json) as show, prefect_server():
            from flows.tokenize import tokenize_corpus
            from infra.progress import watched_by

            with watched_by(show):
                record = tokenize_corpus(corpus, lake, workers, *chosen, name, end_of_document)
        if as_json:
            wanted = ("key", "digest", "documents", "tokens")
            print_json({**{field: record[field] for field in wanted}, "name": name})
            return
        counts = f"{record['documents']:,} documents, {record['tokens']:,} tokens"
        output.print(styled("{}: build [bold]{}[/]", counts, record["key"][:12]))
