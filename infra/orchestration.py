"""Plans as Prefect tasks: cached when the lake has the artifact, retried when the store or a worker failed us.

The lake is the source of truth. A task's result is a small reference, and Prefect's own cache is never asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.tasks import Task, exponential_backoff

from infra.engine.plans import Plan, Progress, present
from infra.engine.pool import Engine, WorkerDied
from infra.store.errors import NotThere, StoreUnavailable
from infra.store.lake import Lake
from infra.store.manifest import Manifest, read_manifest

RETRIES = 3
RETRY_SECONDS = 10
TRANSIENT = (StoreUnavailable, WorkerDied)


class TooManyFailures(Exception):
    """More documents of a stage failed than the recipe allows."""


@dataclass(frozen=True)
class Line:
    """Where a flow's plans are carried out, and what is told about them."""

    lake: Lake
    engine: Engine
    progress: Progress
    most_failures: float = 1.0
    failures_allowed: int = 0

    def make(self, plan: Plan) -> list[Manifest]:
        """The artifacts of a plan, as one task run of the flow that is running.

        Raises what the task raised last; TooManyFailures when more failed than `failures_allowed` and
        more than the share `most_failures` of what came in.
        """
        # Called plainly, a task that returns a state gives that state back in place of its data.
        references = self._task(plan)(return_state=True).result()
        return [self._manifest(reference["stage"], reference["key"]) for reference in references]

    def _manifest(self, stage: str, key: str) -> Manifest:
        manifest = read_manifest(self.lake, stage, key)
        if manifest is None:
            raise NotThere(f"the artifact {key[:12]} of {stage} went while the flow ran: run the same command again")
        return manifest

    def _task(self, plan: Plan) -> Task[[], Any]:
        def carry_out() -> Any:
            found = present(self.lake, plan)
            for manifest in found or ():
                self._check_failures(manifest)
            if found is not None:
                for name in plan.names:
                    self.progress(name, 1, 1)
                return Completed(name="Cached", message="the lake has this artifact", data=_references(found))
            made = plan.carry_out(self.lake, self.engine, self.progress)
            for manifest in made:
                self._check_failures(manifest)
            return _references(made)

        return as_task(carry_out, " + ".join(plan.names))

    def _check_failures(self, manifest: Manifest) -> None:
        account = manifest.account
        failed = sum(account.failed.values())
        if failed > max(self.failures_allowed, self.most_failures * account.rows_in):
            raise TooManyFailures(
                f"stage {manifest.stage}: {failed} of {account.rows_in} failed ({account.failed}), the recipe allows "
                f"{self.most_failures:.1%}. Look at `millrace ledger {manifest.key[:12]}`; if that is as it should be, "
                "set most_failures higher."
            )


def as_task(function: Callable[[], Any], name: str, *transient: type[Exception]) -> Task[[], Any]:
    """A function without parameters as a task that is retried on transient errors and never cached by Prefect.

    `transient` errors are retried beside those of `TRANSIENT`.
    """
    declare = task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(RETRY_SECONDS),
        retry_jitter_factor=0.5,
        retry_condition_fn=lambda definition, task_run, state: is_transient(state, transient),
    )
    return declare(function)


def is_transient(state: State[Any], more: tuple[type[Exception], ...] = ()) -> bool:
    """Whether another try may end better: the closed list of `TRANSIENT`, what the task adds, and nothing else."""
    try:
        state.result()
    except Exception as error:  # noqa: BLE001 - it is looked at here, and raised again by whoever asks for the result
        return isinstance(error, TRANSIENT + more)
    return False


def _references(manifests: list[Manifest]) -> list[dict[str, str]]:
    return [{"stage": manifest.stage, "key": manifest.key, "digest": manifest.digest} for manifest in manifests]
