"""From tokens to checkpoints."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows import parameters
from flows.training import TrainingSection, load_training
from infra.orchestration import as_task
from infra.progress import report_progress
from infra.store.lake import Lake
from tasks.builds import find_build
from tasks.run_origin import describe_origin
from tasks.run_request import requested_run
from tasks.training import TrainingInterrupted, TrainingStopped, create_training_run, is_finished, train_on

STOPPED = "Stopped"  # the name of a flow run's state, beside Completed


@flow(name="train-model", log_prints=True)
def train_model(
    config: Annotated[
        str | None, Field(description="A YAML file, or a preset; not needed to begin with a checkpoint.")
    ] = "tiny-pythia",
    corpus: parameters.Corpus = None,
    lake: parameters.Lake = "lake",
    settings: parameters.Settings = None,
    origin: Annotated[
        str | None, Field(description="RUN or RUN@STEP: a checkpoint of another run, to begin with its whole state.")
    ] = None,
    new: Annotated[str | None, Field(description="A label that no other configuration has, to fork a run.")] = None,
) -> dict[str, Any]:
    """Train a model on a corpus; a run that was interrupted goes on, one that is finished is not trained again.

    When a person stops the run, the flow run ends as Stopped; started again, it goes on.
    """
    more = [f"{key}={value}" for key, value in (("corpus", corpus), ("origin", origin), ("label", new)) if value]
    section = load_training(config, [*(settings or []), *more])
    made = run_training(Lake.open(lake), section, fork=new is not None)
    if made["stopped"]:
        # Prefect takes the state for the flow run, and gives its data to whoever called the flow.
        stopped: Any = Completed(name=STOPPED, message=made["stopped"], data=made)
        return stopped
    return made


def run_training(lake: Lake, section: TrainingSection, fork: bool = False) -> dict[str, Any]:
    """One run to its end or stop, as one task of the flow that is running; gives the run's key and its corpus.

    `stopped` says how a person stopped it, and is "" when it is finished.
    """
    build = find_build(lake, section.corpus)
    config = requested_run(lake, build.manifest(lake, "tokens"), section.request(), fork)
    run = create_training_run(lake, config, section.layout)
    logger = get_run_logger()
    if config.origin is not None:
        logger.info(f"the run {run[:12]} {describe_origin(config.origin.to_plain())}")

    def carry_out() -> State[Any]:
        if is_finished(lake, run):
            return Completed(name="Cached", message="the run is finished", data={"stopped": ""})
        try:
            train_on(lake, run, section.layout, logger.info, partial(report_progress, "training"))
        except TrainingStopped as stop:
            logger.info(str(stop))
            return Completed(name=STOPPED, message=str(stop), data={"stopped": str(stop)})
        return Completed(data={"stopped": ""})

    done = as_task(carry_out, f"train {section.preset or run[:12]}", TrainingInterrupted)(return_state=True).result()
    return {"run": run, "corpus": build.key, "preset": section.preset, **done}
