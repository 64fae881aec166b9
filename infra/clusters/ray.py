"""Runs one command on several machines of a Ray cluster: an actor on each runs its part with the launcher.

Ray allocates the machines and forwards output lines; the processes connect through their own rendezvous. The same
version of the project must be installed on every node.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

import infra
from infra.guard import KILL_SECONDS
from infra.launcher import POLL_SECONDS, LaunchError, StallJudge, Watch, launch

PLACE_SECONDS = 600.0  # for a cluster that grows on demand


class MachineLost(LaunchError):
    """A machine of the cluster was lost, with its part of the command."""


class NoPlace(LaunchError):
    """The cluster does not have the requested machines."""


@dataclass(frozen=True, slots=True)
class Place:
    """One machine: its rank, its private folder, and HOST:PORT of the first machine, with a free port."""

    rank: int
    folder: Path
    endpoint: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The number of machines, and the CPUs and GPUs that each must have available."""

    machines: int
    cpus: int
    gpus: int


def launch_on_ray(
    cluster: str,
    wanted: Wanted,
    command: Callable[[Place], Sequence[str]],
    *,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    watch: Watch | None = None,
    grace: float = 20.0,
) -> int:
    """Run `command(place)` on each machine of a Ray cluster. The machine's own Python replaces its first word.

    `cluster` is an address such as ``ray://head:10001``, or ``auto`` for the cluster of this machine. `environment`
    extends the environment of Ray's workers, which contains their assigned GPUs. Returns 0 when all parts return 0,
    else the first other exit code, after ending the remaining parts. When this call ends for any reason, every part
    is ended: SIGTERM, then SIGKILL after `grace` seconds.

    Raises NoPlace, MachineLost, and the errors of `infra.launcher.launch`.
    """
    with _connected(cluster), _placed(wanted) as group:
        actors = [_start(group, rank, wanted) for rank in range(wanted.machines)]
        try:
            return _follow(actors, command, environment, on_line, watch, grace)
        except RayActorError as error:
            raise MachineLost(f"a machine of the Ray cluster was lost: {_first_line(error)}") from error
        finally:
            _end(actors, grace)


class _Machine:
    """The actor on a machine of the cluster: runs its part in one thread and answers calls in others."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._folder = tempfile.TemporaryDirectory(prefix="millrace-")
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._over = threading.Event()
        self._over.set()

    def describe(self) -> tuple[str, Path, int]:
        """This machine's address, its folder, and a currently free port."""
        here = ray.get_runtime_context().get_node_id()
        [address] = [node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == here]
        with socket.socket() as listener:
            listener.bind((address, 0))
            return address, Path(self._folder.name), int(listener.getsockname()[1])

    def run(self, command: list[str], environment: dict[str, str], grace: float) -> int:
        """Run the part until it ends or `stop` is called; returns its exit code."""
        self._over.clear()
        try:
            return launch(
                [sys.executable, *command[1:]],
                environment={**os.environ, **environment},
                folder=Path(infra.__file__).parents[1],
                on_line=self._keep,
                watch=Watch(self._look),
                grace=grace,
            )
        finally:
            self._over.set()

    def lines(self) -> list[str]:
        """The lines since the last call."""
        with self._lock:
            kept, self._lines = self._lines, []
        return kept

    def stop(self) -> None:
        """End the part; returns when all of its processes have ended."""
        self._stopping = True
        self._over.wait()
        self._folder.cleanup()

    def _keep(self, line: str) -> None:
        with self._lock:
            self._lines.append(f"[machine {self._rank}] {line}")

    def _look(self) -> float:
        # The driver monitors the progress. This poll only checks whether `stop` was called.
        if self._stopping:
            raise LaunchError("stopped")
        return time.monotonic()


def _follow(
    actors: list[ray.actor.ActorHandle],
    command: Callable[[Place], Sequence[str]],
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    watch: Watch | None,
    grace: float,
) -> int:
    facts: list[tuple[str, Path, int]] = ray.get([actor.describe.remote() for actor in actors])
    endpoint = f"{facts[0][0]}:{facts[0][2]}"
    places = [Place(rank, folder, endpoint) for rank, (_, folder, _) in enumerate(facts)]
    waiting = {
        actor.run.remote(list(command(place)), dict(environment), grace)
        for actor, place in zip(actors, places, strict=True)
    }
    judged = None if watch is None else StallJudge(watch)
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_SECONDS)
        kept: list[list[str]] = ray.get([actor.lines.remote() for actor in actors])
        for line in chain.from_iterable(kept):
            on_line(line)
        for reference in done:
            waiting.discard(reference)
            if status := _result(reference):
                return status
        if judged is not None:
            judged.look()
    return 0


def _result(reference: ray.ObjectRef) -> int:
    try:
        return int(ray.get(reference))
    except RayTaskError as error:
        if isinstance(error.cause, LaunchError):
            raise error.cause from error
        raise


@contextlib.contextmanager
def _connected(cluster: str) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    ray.init(cluster, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _placed(wanted: Wanted) -> Iterator[PlacementGroup]:
    """A placement group with one bundle per machine, spread over different nodes if the cluster has enough."""
    bundle: dict[str, float] = {"CPU": wanted.cpus, **({"GPU": wanted.gpus} if wanted.gpus else {})}
    group = placement_group([bundle] * wanted.machines, strategy="SPREAD")
    try:
        if not group.wait(PLACE_SECONDS):
            raise NoPlace(
                f"the Ray cluster has no place for {wanted.machines} machines with {bundle} each within "
                f"{PLACE_SECONDS:.0f} s; it has {ray.cluster_resources()}"
            )
        yield group
    finally:
        remove_placement_group(group)


def _start(group: PlacementGroup, rank: int, wanted: Wanted) -> ray.actor.ActorHandle:
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    # Three threads: run, lines, stop. No restarts: a lost machine ends the run, since its ranks wait for each other.
    machine: Any = ray.remote(_Machine)
    return machine.options(
        num_cpus=wanted.cpus, num_gpus=wanted.gpus, max_concurrency=3, max_restarts=0, scheduling_strategy=strategy
    ).remote(rank)


def _end(actors: list[ray.actor.ActorHandle], grace: float) -> None:
    """Stop all parts concurrently, wait until their processes have ended, and kill the actors."""
    stopping: list[ray.ObjectRef] = [actor.stop.remote() for actor in actors]
    ray.wait(stopping, num_returns=len(stopping), timeout=grace + 4 * KILL_SECONDS)
    for actor in actors:
        # If an actor is already lost, the guard of its launcher has noticed and ended the part.
        with contextlib.suppress(RayError):
            ray.kill(actor)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
