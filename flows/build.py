"""The flow `build-corpus`: from source files to a corpus and its tokens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import parameters
from flows.recipe import load_recipe, read_recipe, require_inputs
from infra.attempts import require_progress
from infra.engine.choice import open_engine
from infra.flow import flow
from infra.orchestration import StageRunner
from infra.progress import report_progress
from infra.store.lake import Lake
from infra.store.names import Reference, check_name, point
from tasks.builds import BuildRecord, ledgers, write_build
from tasks.pipeline import build_tasks
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe
from tasks.report.artifacts import failure_counts, failure_rows, publish_ledger
from tasks.token_artifact import count_tokens

WITH_FAILURES = "Completed with failures"  # name of a flow run state of type Completed


@flow(name="build-corpus")
def build_corpus(
    recipe: parameters.Recipe = "crawl",
    inputs: parameters.Inputs = None,
    values: Annotated[dict[str, Any] | None, parameters.VALUES] = None,
    lake: parameters.Lake = "lake",
    workers: parameters.Workers = 2,
    cluster: parameters.Cluster = None,
    settings: Annotated[list[str] | None, parameters.SETTINGS] = None,
    name: Annotated[str | None, parameters.CORPUS_NAME] = None,
    skip_missing: Annotated[bool, parameters.SKIP_MISSING] = False,
) -> dict[str, Any]:
    """Build a corpus and its tokens from a recipe. Artifacts that the lake already has are reused.

    A retry reads the files that the first attempt found, also when others match the inputs by then.
    """
    require_progress()
    if name is not None:
        check_name(name)
    resolved = load_recipe(recipe, settings or [], inputs or [], values or {}, skip_missing)
    written = read_recipe(recipe)
    require_inputs(resolved)
    tasks = build_tasks(resolved)
    modules = sorted({module for task in tasks for module in task.modules})
    with open_engine(workers, cluster, modules) as engine:
        chosen = resolved.recipe
        runner = StageRunner(Lake.open(lake), engine, report_progress, chosen.most_failures, chosen.failures_allowed)
        # The same in each attempt of a flow run, also below another flow.
        record = make_corpus(runner, resolved, pin=flow_run.root_flow_run_id)
    name = name or default_name(record, resolved.recipe, written)
    point(runner.lake, name, Reference("build", record.key, record.digest))
    failures = failure_rows(runner.lake, record)
    publish_ledger(record, name, failures)
    result = {**asdict(record), "name": name}
    if counts := failure_counts(runner.lake, record):
        # Prefect uses the returned state for the flow run, and returns its data to the caller of the flow.
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
        message = f"{counts.total():,} records failed ({reasons}); the artifact of failures names files and bytes"
        get_run_logger().warning(message)
        state: Any = Completed(name=WITH_FAILURES, message=message, data=result)
        return state
    return result


def default_name(record: BuildRecord, recipe: Recipe, written: Recipe) -> str:
    """`corpus/RECIPE`, for any inputs. An experiment (changed values under the same name) gets a name of its own."""
    experiment = recipe.name == written.name and _without_inputs(recipe) != _without_inputs(written)
    return f"corpus/{recipe.name}-{record.key[:12]}" if experiment else f"corpus/{recipe.name}"


def _without_inputs(recipe: Recipe) -> dict[str, Any]:
    values = recipe.model_dump(mode="json")
    for section in (*values["sources"].values(), *values["references"].values()):
        section["inputs"] = []
    return values


def make_corpus(runner: StageRunner, resolved: ResolvedRecipe, pin: str | None = None) -> BuildRecord:
    """Run all tasks of a recipe and store the build record. Call it inside a Prefect flow.

    Calls with the same `pin` read the same files (`infra.store.inputs.pinned_inventory`).
    """
    made = runner.run(build_tasks(resolved, pin))
    corpora = {name: made[name] for name in made if name.endswith("/corpus")}
    record = BuildRecord.make(
        resolved.recipe.model_dump(mode="json"),
        made,
        **ledgers(resolved, made),
        tokens=count_tokens(runner.lake, made["tokens"], corpora.values()),
    )
    write_build(runner.lake, record)
    return record
