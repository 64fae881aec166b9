"""Chooses the engine: the local process pool, or a Ray cluster when an address is given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from infra.compiled import needed_libraries
from infra.engine.pool import Engine, LocalPool


def open_engine(
    workers: int, cluster: str | None = None, preload: Sequence[str] = ()
) -> AbstractContextManager[Engine]:
    """An engine for a ``with`` block: `cluster` is a Ray address, `workers` the number of concurrent work units."""
    if cluster is None:
        return LocalPool(workers, [*needed_libraries(), *preload])
    # Ray is an optional extra, and its import takes a second.
    from infra.engine.ray import RayCluster

    return RayCluster(cluster, workers)
