"""The flow `build-corpus`: from source files to a corpus and its tokens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from prefect import flow

from flows import parameters
from flows.recipe import load_recipe, require_inputs
from infra.engine.choice import open_engine
from infra.orchestration import StageRunner
from infra.progress import report_progress
from infra.store.lake import Lake
from infra.store.names import Reference, point
from tasks.builds import BuildRecord, ledgers, write_build
from tasks.pipeline import build_tasks
from tasks.recipe.resolved import ResolvedRecipe
from tasks.report.artifacts import publish_ledger
from tasks.tokens import count_tokens


@flow(name="build-corpus", log_prints=True)
def build_corpus(
    recipe: parameters.Recipe = "crawl",
    inputs: parameters.Inputs = None,
    values: Annotated[dict[str, Any] | None, parameters.VALUES] = None,
    lake: parameters.Lake = "lake",
    workers: parameters.Workers = 2,
    cluster: parameters.Cluster = None,
    settings: Annotated[list[str] | None, parameters.SETTINGS] = None,
) -> dict[str, Any]:
    """Build a corpus and its tokens from a recipe. Artifacts that the lake already has are reused."""
    resolved = load_recipe(recipe, settings or [], inputs or [], values or {})
    require_inputs(resolved)
    tasks = build_tasks(resolved)
    modules = sorted({module for task in tasks for module in task.modules})
    with open_engine(workers, cluster, modules) as engine:
        chosen = resolved.recipe
        runner = StageRunner(Lake.open(lake), engine, report_progress, chosen.most_failures, chosen.failures_allowed)
        record = make_corpus(runner, resolved)
    publish_ledger(record)
    return asdict(record)


def make_corpus(runner: StageRunner, resolved: ResolvedRecipe) -> BuildRecord:
    """Run all tasks of a recipe and store the build record. Call it inside a Prefect flow."""
    made = runner.run(build_tasks(resolved))
    corpora = {name: made[name] for name in made if name.endswith("/corpus")}
    record = BuildRecord.make(
        resolved.recipe.model_dump(mode="json"),
        made,
        **ledgers(resolved, made),
        tokens=count_tokens(runner.lake, made["tokens"], corpora.values()),
    )
    write_build(runner.lake, record)
    point(runner.lake, f"corpus/{resolved.recipe.name}", Reference("build", record.key, record.digest))
    return record
