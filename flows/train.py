"""From tokens to checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows import parameters
from flows.training import TrainingSection, load_training
from infra.builds import find_build
from infra.orchestration import as_task
from infra.progress import report_progress
from infra.store.lake import Lake
from tasks.training import TrainingInterrupted, create_training_run, is_finished, train


@flow(name="train-model", log_prints=True)
def train_model(
    config: Annotated[str, Field(description="A YAML file, or a preset such as tiny-pythia.")] = "tiny-pythia",
    corpus: parameters.Corpus = None,
    lake: parameters.Lake = "lake",
    settings: parameters.Settings = None,
) -> dict[str, Any]:
    """Train a model on a corpus; a run that was interrupted goes on, one that is finished is not trained again."""
    section = load_training(config, [*(settings or []), *([f"corpus={corpus}"] if corpus else [])])
    opened = Lake.open(lake)
    return run_training(opened, section)


def run_training(lake: Lake, section: TrainingSection) -> dict[str, Any]:
    """One run to its end, as one task of the flow that is running; gives the run's key and its corpus."""
    build = find_build(lake, section.corpus)
    run = create_training_run(lake, build.manifest(lake, "tokens"), section.request())
    logger = get_run_logger()

    def carry_out() -> Any:
        if is_finished(lake, run):
            return Completed(name="Cached", message="the run is finished", data={"run": run})
        train(lake, run, section.layout, logger.info, lambda step, steps: report_progress("training", step, steps))
        return {"run": run}

    as_task(carry_out, f"train {section.preset}", TrainingInterrupted)(return_state=True).result()
    return {"run": run, "corpus": build.key, "preset": section.preset}
