"""Resuming from the newest good checkpoint, in the same way after a crash, a preemption or a retry."""

from __future__ import annotations

from collections.abc import Callable

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoints.files import open_state
from model.checkpoints.manifest import Checkpoint, committed_steps, delete_manifest, newest_good, read_checkpoint
from model.engine import Engine
from model.order import Order
from model.training.random_streams import fresh_streams, seating, set_streams
from model.training.records import Launch
from model.training.train_state import TrainState

Report = Callable[[int, str], None]


def find_checkpoint(
    launch: Launch, train_state: TrainState, report: Report, check: Callable[[Checkpoint], None]
) -> Checkpoint | None:
    """The checkpoint to continue from: the run's newest good one, else its origin, else None.

    `check` reads a checkpoint's files and raises Corrupt or NotThere. Checkpoints of an abandoned course are rejected.
    `report(step, reason)` is called for each rejected checkpoint. Raises Corrupt or NotThere when the origin is missing
    or changed, and Corrupt when the run has checkpoints but none is usable.
    """
    config = launch.config

    given_up: set[int] = set()

    def objection(checkpoint: Checkpoint) -> str:
        if _on_course(checkpoint, train_state):
            return ""
        given_up.add(checkpoint.step)
        return "it belongs to a course that a rollback abandoned"

    found = newest_good(launch.lake, config.key, launch.cache, report, objection, check)
    if found is None and (lost := set(committed_steps(launch.lake, config.key)) - given_up):
        raise Corrupt(
            f"run {config.key[:12]}: none of its checkpoints {sorted(lost)} is usable; the logbook has the reason for "
            "each. Restore the lost files, or start a new run with `millrace train … --new LABEL`"
        )
    if found is not None or config.origin is None:
        return found
    origin = read_checkpoint(launch.lake, config.origin.run, config.origin.step)
    if origin.digest != config.origin.digest:
        raise Corrupt(f"{origin.folder} is no longer the checkpoint that this run continues; create the run again")
    if origin.pruned:
        raise NotThere(
            f"{launch.lake.uri}/{origin.folder} keeps only its weights now; create the run again from a checkpoint "
            "with its whole state"
        )
    check(origin)
    return origin


def delete_abandoned(lake: Lake, run: str, train_state: TrainState) -> None:
    """Delete the manifests of checkpoints that a rollback abandoned, so that they no longer count as the run's."""
    if not train_state.course.events:
        return
    for step in committed_steps(lake, run):
        try:
            checkpoint = read_checkpoint(lake, run, step)
        except Corrupt:  # never used to resume
            continue
        if not _on_course(checkpoint, train_state):
            delete_manifest(lake, run, step)


def restore(launch: Launch, engine: Engine, train_state: TrainState, order: Order, checkpoint: Checkpoint) -> None:
    """Restore the engine, `train_state` and this rank's random streams from a checkpoint.

    Raises ValueError when the checkpoint was made with other data.
    """
    if checkpoint.run == launch.config.key:
        expected = {
            "fingerprint": order.fingerprint,
            "seed": launch.config.seed,
            "next_sequence": train_state.course.next_sequence(checkpoint.step),
        }
        held = {name: checkpoint.trainer[name] for name in expected}
        if held != expected:
            raise ValueError(
                f"{checkpoint.folder}: the data order was {held}, and this launch has {expected}; restore the token "
                "files with which the run began"
            )
    train_state.load(checkpoint.step, checkpoint.trainer)
    with open_state(launch.lake, checkpoint, launch.cache) as state:
        engine.restore(state.read, train_state.updates)
        streams = state.random_streams(engine.rank)
    if streams is None or checkpoint.trainer["ranks"] != seating(launch):
        fresh_streams(launch, engine, checkpoint.step)
    else:
        set_streams(streams)


def _on_course(checkpoint: Checkpoint, train_state: TrainState) -> bool:
    return bool(checkpoint.trainer["course"] == train_state.course.digest(checkpoint.step))
