"""Tokens anew from a corpus that is there: another tokenizer, the same documents."""

from __future__ import annotations

import datetime
from dataclasses import asdict, replace
from typing import Any

from prefect import flow

from flows.build import make_tokens
from flows.recipe import Recipe
from infra.builds import BuildRecord, find_build, write_build
from infra.engine.choice import open_engine
from infra.orchestration import Line
from infra.progress import report_progress
from infra.store.lake import Lake
from infra.store.names import Reference, point


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
    opened = Lake.open(lake)
    build = find_build(opened, corpus)
    recipe = _changed(build, tokenizer, vocabulary_size, held_out_every)
    with open_engine(workers) as engine:
        line = Line(opened, engine, report_progress)
        made = make_tokens(line, recipe, build.manifest(opened, "corpus"))
    record = replace(
        build,
        key=made.tokens.key,
        digest=made.tokens.digest,
        recipe=recipe.model_dump(mode="json"),
        artifacts={**_without(build.artifacts), **{item.stage: [item.stage, item.key] for item in made.manifests}},
        digests={**_without(build.digests), **{item.stage: item.digest for item in made.manifests}},
        tokens=made.count,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    write_build(opened, record)
    if name is not None:
        point(opened, name, Reference("tokens", record.key, record.digest))
    return asdict(record)


def _without(of_build: dict[str, Any]) -> dict[str, Any]:
    """What stays of a build's artifacts when its tokens are made anew; a loaded tokenizer is none of them."""
    return {name: value for name, value in of_build.items() if name not in ("tokenizer", "encode", "tokens")}


def _changed(
    build: BuildRecord, tokenizer: str | None, vocabulary_size: int | None, held_out_every: int | None
) -> Recipe:
    values = dict(build.recipe)
    if tokenizer is not None:
        values["tokenizer"] = {"file": tokenizer}
    elif vocabulary_size is not None:
        values["tokenizer"] = {"vocabulary_size": vocabulary_size}
    if held_out_every is not None:
        values["tokens"] = {"held_out_every": held_out_every}
    return Recipe.model_validate(values)
