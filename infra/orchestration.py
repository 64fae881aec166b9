"""Plans as Prefect tasks: cached when the lake has the artifact, retried when the store or a worker failed.

The lake is the source of truth. A task's result is a small reference, and Prefect's own cache is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ParamSpec

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.tasks import Task, exponential_backoff

from infra.engine.graph import BuildTask, Made
from infra.engine.plans import Progress, present
from infra.engine.pool import Engine
from infra.engine.scheduling import WorkerDied, WorkFailed
from infra.store.clock import store_time
from infra.store.errors import Corrupt, NotThere, StoreUnavailable
from infra.store.lake import Lake
from infra.store.lease import lease
from infra.store.manifest import Manifest, missing_parts, read_manifest

P = ParamSpec("P")
References = dict[str, dict[str, str]]
PLACES_SHOWN = 3  # in the message of TooManyFailures
RETRIES = 3
RETRY_SECONDS = 10
TRANSIENT = (StoreUnavailable, WorkerDied)


class TooManyFailures(Exception):
    """More documents of a stage failed than the recipe allows."""


@dataclass(frozen=True)
class _Makers:
    """The tasks of a build by the artifacts that they make, and the artifacts made so far."""

    tasks: Mapping[str, BuildTask]
    made: dict[str, Manifest]


@dataclass(frozen=True)
class StageRunner:
    """Runs the tasks of a build in the current flow run; independent tasks run concurrently."""

    lake: Lake
    engine: Engine
    progress: Progress
    most_failures: float = 1.0
    failures_allowed: int = 0

    def run(self, tasks: Sequence[BuildTask], made: Made | None = None) -> dict[str, Manifest]:
        """Run each task as one Prefect task run. Returns every artifact by name, in the order of the tasks.

        Each artifact that a task needs comes from an earlier task or is in `made`. A failed task does not stop the
        tasks that do not depend on it. Raises the error of the first failed task. Raises TooManyFailures when the
        failed documents exceed both `failures_allowed` and the fraction `most_failures` of the input documents, and
        StoreError when the clocks of this machine and of the store differ.
        """
        store_time(self.lake)  # by another clock, this build would not refresh what a sweep takes for old
        known = dict(made or {})
        futures: list[PrefectFuture[Any]] = []
        maker: dict[str, PrefectFuture[Any]] = {}
        makers = _Makers({name: item for item in tasks for name in item.makes}, dict(known))
        for item in tasks:
            upstream = list(dict.fromkeys(maker[name] for name in item.needs if name in maker))
            future: PrefectFuture[Any] = self._task(item, known, makers).submit(upstream)  # type: ignore[arg-type]  # Prefect resolves futures
            futures.append(future)
            maker |= dict.fromkeys(item.makes, future)
        wait(futures)
        for future in futures:
            # A task whose upstream task failed stays Pending; the upstream task raises the error.
            if not future.state.is_pending():
                known |= self._manifests(future.result(), makers.made)
        return {name: known[name] for item in tasks for name in item.makes}

    def _manifests(self, references: References, held: Made) -> dict[str, Manifest]:
        return {name: self._manifest(held.get(name), **reference) for name, reference in references.items()}

    def _manifest(self, held: Manifest | None, stage: str, key: str, digest: str) -> Manifest:
        """The manifest that a reference points at: the one that is `held`, while the lake has it, or that of the lake.

        The manifest of many parts takes long to read, and each task needs several.
        """
        same = held is not None and (held.stage, held.key, held.digest) == (stage, key, digest)
        manifest = held if held and same and self.lake.entry(held.path) else read_manifest(self.lake, stage, key)
        if manifest is None:
            raise NotThere(
                f"the artifact {key[:12]} of {stage} was deleted during the flow: run the same command again"
            )
        return manifest

    def _task(self, item: BuildTask, known: Made, makers: _Makers) -> Task[[list[References]], Any]:
        def run_task(upstream: list[References]) -> Any:
            needed = {**known}
            for references in upstream:
                wanted = {name: references[name] for name in references if name in item.needs}
                needed |= self._manifests(wanted, makers.made)
            made, was_there = self._make(item, needed, makers)
            makers.made.update(zip(item.makes, made, strict=True))
            for manifest in made:
                self._check_failures(manifest)
            references = {
                name: {"stage": manifest.stage, "key": manifest.key, "digest": manifest.digest}
                for name, manifest in zip(item.makes, made, strict=True)
            }
            if was_there:
                return Completed(name="Cached", message="the lake has this artifact", data=references)
            return references

        return as_task(run_task, item.name)

    def _make(self, item: BuildTask, needed: Made, makers: _Makers) -> tuple[list[Manifest], bool]:
        """The artifacts of a task, and whether the lake had them. Makes what they need again where parts are gone."""
        try:
            return self._find_or_make(item, needed, whole=item.used)
        except WorkFailed as error:
            if not isinstance(error.__cause__, (NotThere, Corrupt)):
                raise
            again = self._make_again(item, needed, makers)
            if not again:
                raise
        return self._find_or_make(item, {**needed, **again}, whole=item.used)

    def _make_again(self, item: BuildTask, needed: Made, makers: _Makers) -> dict[str, Manifest]:
        """What a task needs and what lacks parts, made again; units whose parts are all there do not run."""
        again: dict[str, Manifest] = {}
        for name in item.needs:
            maker = makers.tasks.get(name)
            if maker is None or name in again or not missing_parts(self.lake, needed[name].parts):
                continue
            get_run_logger().warning(f"{name} lacks parts: they are made again")
            made, _ = self._make(replace(maker, used=True), {one: makers.made[one] for one in maker.needs}, makers)
            makers.made.update(zip(maker.makes, made, strict=True))
            again |= {one: manifest for one, manifest in zip(maker.makes, made, strict=True) if one in item.needs}
        return again

    def _find_or_make(self, item: BuildTask, needed: Made, *, whole: bool) -> tuple[list[Manifest], bool]:
        plan = item.plan(self.lake, needed)
        found = present(self.lake, plan, whole=whole)
        if found is None:
            with lease(self.lake, f"{plan.names[0]}-{plan.keys[0]}", lambda: _say_waiting(item.name)):
                # Another build may have made it by now.
                found = present(self.lake, plan, whole=whole)
                if found is None:
                    return plan.run(self.lake, self.engine, self.progress), False
        for name in plan.names:
            self.progress(name, 1, 1)
        return found, True

    def _check_failures(self, manifest: Manifest) -> None:
        account = manifest.account
        failed = sum(account.failed.values())
        if failed > max(self.failures_allowed, self.most_failures * account.rows_in):
            raise TooManyFailures(
                f"stage {manifest.stage}: {failed} of {account.rows_in} failed ({_counts(account.failed)}); the recipe "
                f"allows {self.most_failures:.1%}. {_places(account.failures)}`millrace ledger {manifest.key[:12]} "
                f"--lake {self.lake.uri}` shows more; if the failures are expected, set most_failures higher."
            )


def _say_waiting(name: str) -> None:
    get_run_logger().info(f"{name}: another build makes it now; waiting for it")


def _counts(by_reason: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in by_reason.items())


def _places(failures: Sequence[Mapping[str, Any]]) -> str:
    """The files and documents of the first failures, as a sentence."""
    names = list(dict.fromkeys(str(failure.get("file") or failure.get("document")) for failure in failures))
    more = f" and {len(names) - PLACES_SHOWN:,} more" if len(names) > PLACES_SHOWN else ""
    return f"They are in {', '.join(names[:PLACES_SHOWN])}{more}. " if names else ""


def as_task(function: Callable[P, Any], name: str, *transient: type[Exception]) -> Task[P, Any]:
    """A function as a task that is retried on transient errors and never cached by Prefect.

    Errors of the types `transient` are retried in addition to those of `TRANSIENT`.
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
    """Whether a retry may succeed: True only for the errors of `TRANSIENT` and those in `more`."""
    try:
        state.result()
    except Exception as error:  # noqa: BLE001 - inspected here; reading the result raises it again
        return isinstance(error, TRANSIENT + more)
    return False
