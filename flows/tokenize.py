"""The flow `tokenize-corpus`: encode an existing corpus with another tokenizer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from flows import parameters
from flows.recipe import with_tokens
from infra.attempts import require_progress
from infra.engine.choice import open_engine
from infra.flow import flow
from infra.orchestration import StageRunner
from infra.progress import report_progress
from infra.store.lake import Lake
from infra.store.names import Reference, check_name, point
from tasks.builds import BuildRecord, find_build, write_build
from tasks.pipeline import token_tasks
from tasks.token_artifact import count_tokens


@flow(name="tokenize-corpus")
def tokenize_corpus(
    corpus: parameters.Corpus = None,
    lake: parameters.Lake = "lake",
    workers: parameters.Workers = 2,
    tokenizer: Annotated[str | None, parameters.TOKENIZER] = None,
    vocabulary_size: Annotated[int | None, parameters.VOCABULARY_SIZE] = None,
    held_out_every: Annotated[int | None, parameters.HELD_OUT_EVERY] = None,
    name: Annotated[str | None, parameters.BUILD_NAME] = None,
    end_of_document: Annotated[str | None, parameters.END_OF_DOCUMENT] = None,
) -> dict[str, Any]:
    """Encode a corpus with another tokenizer, loaded from a file or fitted with another vocabulary size.

    The new build shares all other artifacts with the old one. `name`, such as ``corpus/large-vocabulary``, points to
    the new build.
    """
    require_progress()
    if name is not None:
        check_name(name)
    opened = Lake.open(lake)
    build = find_build(opened, corpus)
    recipe = with_tokens(build.recipe, tokenizer, vocabulary_size, held_out_every, end_of_document)
    corpora = build.corpora(opened)
    tasks = token_tasks(recipe)
    with open_engine(workers) as engine:
        made = StageRunner(opened, engine, report_progress).run(tasks, corpora)
    # A tokenizer loaded from a file is not an artifact, so the old build's tokenizer must be dropped too.
    anew = {"tokenizer", *(item for task in tasks for item in task.makes)}
    kept = {item: build.manifest(opened, item) for item in build.artifacts if item not in anew}
    record = BuildRecord.make(
        recipe.model_dump(mode="json"),
        {**kept, **made},
        ledger=build.ledger,
        source_ledgers=build.source_ledgers,
        documents=build.documents,
        tokens=count_tokens(opened, made["tokens"], corpora.values()),
    )
    write_build(opened, record)
    if name is not None:
        point(opened, name, Reference("build", record.key, record.digest))
    return asdict(record)
