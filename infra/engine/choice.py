"""Which engine runs the pieces: the pool of this machine, or a Ray cluster when one is named."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from infra.engine.pool import Engine, LocalPool


def open_engine(
    workers: int, cluster: str | None = None, preload: Sequence[str] = ()
) -> AbstractContextManager[Engine]:
    """An engine for a ``with`` block: `cluster` is a Ray address, `workers` how many pieces run at once."""
    if cluster is None:
        return LocalPool(workers, preload)
    # Ray is an extra, and takes a second to import.
    from infra.engine.ray import RayCluster

    return RayCluster(cluster, workers)
