"""One command on several machines through a Ray cluster: an actor on each, which runs its part under the launcher.

Ray finds the machines and carries lines of output; the processes themselves meet through their own rendezvous. The
project must be installed on every node, in the same version.
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
    """A machine of the cluster went away, with its part of the command."""


class NoPlace(LaunchError):
    """The cluster has not the machines that were asked for."""


@dataclass(frozen=True, slots=True)
class Place:
    """One of the machines: its number, a folder of its own, and the first one's address and a free port, HOST:PORT."""

    rank: int
    folder: Path
    endpoint: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many machines, and what each must have free for this command."""

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
    """Run `command(place)` on each machine of a Ray cluster; its first word, a Python, becomes that machine's own.

    `cluster` is an address such as ``ray://head:10001``, or ``auto`` for the cluster that this machine belongs to.
    `environment` is laid over that of Ray's workers, which know the GPUs that are theirs. Returns 0 when all parts
    ended so, else the first other exit code; the parts that are left are then ended too. Whatever ends this call ends
    every part: SIGTERM, and SIGKILL `grace` seconds later.

    Raises NoPlace, MachineLost, and what `infra.launcher.launch` raises.
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
    """On a machine of the cluster: runs its part in one thread, answers in others."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._folder = tempfile.TemporaryDirectory(prefix="millrace-")
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._over = threading.Event()
        self._over.set()

    def describe(self) -> tuple[str, Path, int]:
        """This machine's address, folder, and a port that is free at the moment."""
        here = ray.get_runtime_context().get_node_id()
        [address] = [node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == here]
        with socket.socket() as listener:
            listener.bind(("", 0))
            return address, Path(self._folder.name), int(listener.getsockname()[1])

    def run(self, command: list[str], environment: dict[str, str], grace: float) -> int:
        """Run the part to its end, or until `stop` is called."""
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
        """End the part; returns when nothing is left of it."""
        self._stopping = True
        self._over.wait()
        self._folder.cleanup()

    def _keep(self, line: str) -> None:
        with self._lock:
            self._lines.append(f"[machine {self._rank}] {line}")

    def _look(self) -> float:
        # The driver judges the progress; here, being asked is only the occasion to be stopped.
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
    """A bundle for each machine; spread, so that they are different machines where the cluster has them."""
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
    # One thread runs, one is asked for lines, one stops. A lost machine loses the run: its ranks wait for each other.
    machine: Any = ray.remote(_Machine)
    return machine.options(
        num_cpus=wanted.cpus, num_gpus=wanted.gpus, max_concurrency=3, max_restarts=0, scheduling_strategy=strategy
    ).remote(rank)


def _end(actors: list[ray.actor.ActorHandle], grace: float) -> None:
    """Stop every part at the same time, wait until nothing is left, and end the actors."""
    stopping: list[ray.ObjectRef] = [actor.stop.remote() for actor in actors]
    ray.wait(stopping, num_returns=len(stopping), timeout=grace + 4 * KILL_SECONDS)
    for actor in actors:
        # Where an actor is lost already, its launcher's guard has noticed and ended the part.
        with contextlib.suppress(RayError):
            ray.kill(actor)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
