"""Tokens anew from a corpus that is there: another tokenizer, the same documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from flows.build import make_tokens
from flows.recipe import with_tokens
from infra.builds import BuildRecord, find_build, write_build
from infra.engine.choice import open_engine
from infra.orchestration import Line
from infra.progress import report_progress
from infra.store.lake import Lake
from infra.store.names import Reference, check_name, point

# A tokenizer that is loaded from a file is no artifact, so the old build's must not stay.
_MADE_ANEW = ("tokenizer", "encode", "tokens")


@flow(name="tokenize-corpus", log_prints=True)
def tokenize_corpus(
    corpus: str | None = None,
    lake: str = "lake",
    workers: int = 2,
    tokenizer: str | None = None,
    vocabulary_size: int | None = None,
    held_out_every: int | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Encode a corpus with another tokenizer, loaded from a file or fitted with another vocabulary.

    The new build shares everything else with the old one; `name`, such as ``corpus/large-vocabulary``, points at it.
    """
    if name is not None:
        check_name(name)
    opened = Lake.open(lake)
    build = find_build(opened, corpus)
    recipe = with_tokens(build.recipe, tokenizer, vocabulary_size, held_out_every)
    with open_engine(workers) as engine:
        line = Line(opened, engine, report_progress)
        made = make_tokens(line, recipe, build.manifest(opened, "corpus"))
    kept = {name: build.manifest(opened, name) for name in build.artifacts if name not in _MADE_ANEW}
    record = BuildRecord.make(
        recipe.model_dump(mode="json"),
        {**kept, **{item.stage: item for item in made.manifests}},
        ledger=build.ledger,
        documents=build.documents,
        tokens=made.count,
    )
    write_build(opened, record)
    if name is not None:
        point(opened, name, Reference("build", record.key, record.digest))
    return asdict(record)
