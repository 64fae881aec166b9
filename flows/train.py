"""The flow `train-model`: from tokens to checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows import parameters
from flows.parameters import Parameter
from flows.training import TrainingSection, load_training
from infra.attempts import require_checkpoint
from infra.flow import flow
from infra.orchestration import as_task
from infra.progress import report_progress
from infra.store.lake import Lake
from infra.suspension import SuspensionCheck
from model.observers.status_lines import status_in
from tasks.builds import find_build
from tasks.layout_request import LayoutOverrides
from tasks.run_origin import describe_origin, find_origin
from tasks.run_overrides import ModelOverrides, TrainingOverrides
from tasks.run_request import TrainingRequest, requested_run
from tasks.training import (
    TrainingInterrupted,
    TrainingStopped,
    create_training_run,
    is_finished,
    newest_checkpoint_time,
    train_on,
)

STOPPED = "Stopped"  # name of a flow run state of type Completed


@flow(name="train-model")
def train_model(
    config: Annotated[str | None, parameters.CONFIG] = "tiny-pythia",
    corpus: parameters.Corpus = None,
    training: Annotated[TrainingOverrides | None, parameters.TRAINING] = None,
    model: Annotated[ModelOverrides | None, parameters.MODEL] = None,
    layout: Annotated[LayoutOverrides | None, parameters.LAYOUT] = None,
    epochs: Annotated[int | None, Parameter.of(TrainingRequest, "epochs")] = None,
    seed: Annotated[int | None, Parameter.of(TrainingRequest, "seed")] = None,
    label: Annotated[str | None, Parameter.of(TrainingRequest, "label")] = None,
    origin: Annotated[str | None, parameters.ORIGIN] = None,
    new: Annotated[str | None, parameters.NEW] = None,
    lake: parameters.Lake = "lake",
) -> dict[str, Any]:
    """Train a model on a corpus. An interrupted run resumes; a finished run is not trained again.

    When a user stops the run, the flow run ends in the state Stopped. Start it again to resume.
    """
    sections = {"training": training, "model": model, "layout": layout}
    changes: dict[str, Any] = {name: section.values() for name, section in sections.items() if section is not None}
    plain = {"corpus": corpus, "epochs": epochs, "seed": seed, "label": new or label, "origin": origin}
    changes |= {name: value for name, value in plain.items() if value not in (None, "")}
    opened = Lake.open(lake)
    made = run_training(opened, _pinned(opened, load_training(config, changes)), fork=new is not None)
    if made["stopped"]:
        # Prefect uses the returned state for the flow run, and returns its data to the caller of the flow.
        stopped: Any = Completed(name=STOPPED, message=made["stopped"], data=made)
        return stopped
    return made


def _pinned(lake: Lake, section: TrainingSection) -> TrainingSection:
    """Add the checkpoint's step to the section's `origin`.

    Also updates the parameters of the flow run, so that a retry starts from the same checkpoint even if the origin run
    has a newer one by then.
    """
    if section.origin is None:
        return section
    origin = find_origin(lake, section.origin, get_run_logger().warning)
    context = FlowRunContext.get()
    if origin != section.origin and context is not None and context.flow_run is not None:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(context.flow_run.id)
            client.update_flow_run(run.id, parameters={**run.parameters, "origin": origin}).raise_for_status()
    return section.model_copy(update={"origin": origin})


def run_training(lake: Lake, section: TrainingSection, fork: bool = False) -> dict[str, Any]:
    """Train one run until it finishes or stops, as one task of the current flow run. Returns its key and corpus.

    `stopped` describes how a user stopped the run; "" when it is finished.
    """
    build = find_build(lake, section.corpus)
    config = requested_run(lake, build.manifest(lake, "tokens"), section.request(), fork)
    run = create_training_run(lake, config, section.layout)
    require_checkpoint(newest_checkpoint_time(lake, run))
    logger = get_run_logger()
    if config.origin is not None:
        logger.info(f"the run {run[:12]} {describe_origin(config.origin.to_plain())}")

    def carry_out() -> State[Any]:
        if is_finished(lake, run):
            return Completed(name="Cached", message="the run is finished", data={"stopped": ""})
        status = ""

        def on_line(line: str) -> None:
            nonlocal status
            logger.info(line)
            status = status_in(line) or status

        def on_step(step: int, steps: int) -> None:
            report_progress("training", step, steps, status)

        try:
            train_on(lake, run, section.layout, on_line, on_step, SuspensionCheck())
        except TrainingStopped as stop:
            logger.info(str(stop))
            return Completed(name=STOPPED, message=str(stop), data={"stopped": str(stop)})
        return Completed(data={"stopped": ""})

    done = as_task(carry_out, f"train {section.preset or run[:12]}", TrainingInterrupted)(return_state=True).result()
    return {"run": run, "corpus": build.key, "preset": section.preset, **done}
