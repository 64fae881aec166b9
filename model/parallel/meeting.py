"""The rendezvous of a run's ranks, as `model.agent` arranges it.

Ranks of one machine exchange their addresses through a private file. Ranks of several machines use a `TCPStore` of rank
0, on a socket that the agent of machine 0 has bound to one address. Torch's ``env://`` would listen on all interfaces.
The store keeps bytes and unpickles nothing; it has no password, so whoever reaches it can read and change it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore
from torch.distributed.rendezvous import register_rendezvous_handler

from model.parallel.network import (
    MEETING_ENDPOINT,
    MEETING_FILE,
    MEETING_RUN,
    MEETING_SOCKET,
    POLL_SECONDS,
    split_endpoint,
    wait_until_reachable,
)

JOIN_SECONDS = 600.0  # as torchrun waits for machines
_SCHEME = "millrace"


def meeting() -> dict[str, Any]:
    """The rendezvous arguments for `torch.distributed.init_process_group`.

    Without the agent's variables the result is empty, which selects torch's default ``env://`` for other launchers.
    """
    place = {"rank": int(os.environ.get("RANK", 0)), "world_size": int(os.environ.get("WORLD_SIZE", 1))}
    if (file := os.environ.get(MEETING_FILE)) is not None:
        return {"init_method": f"file://{file}", **place}
    if MEETING_ENDPOINT in os.environ:
        return {"init_method": f"{_SCHEME}://", **place}
    return {}


def meet(endpoint: str, run: str, rank: int, ranks: int, listener: int | None, seconds: float = JOIN_SECONDS) -> Store:
    """The store of `ranks` ranks at `endpoint`, once all of them have joined; rank 0 serves it on `listener`.

    Raises TimeoutError with the missing ranks after `seconds`.
    """
    deadline = time.monotonic() + seconds
    if listener is None:
        wait_until_reachable(endpoint, seconds)
    host, port = split_endpoint(endpoint)
    served = TCPStore(
        host,
        port,
        is_master=listener is not None,
        master_listen_fd=listener,
        wait_for_workers=False,
        timeout=timedelta(seconds=JOIN_SECONDS),
    )
    store = PrefixStore(run, served)
    keys = [f"rank {number}" for number in range(ranks)]
    store.set(keys[rank], "joined")
    while not store.check(keys):
        if time.monotonic() >= deadline:
            missing = ", ".join(key for key in keys if not store.check([key]))
            raise TimeoutError(f"these ranks did not join {endpoint} within {seconds:.0f} s: {missing}; start them")
        time.sleep(POLL_SECONDS)
    return store


def _meet_as_arranged(url: str, **_: Any) -> Iterator[tuple[Store, int, int]]:
    """Torch's handler of the scheme: DeepSpeed takes a URL and no store."""
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    listener = os.environ.pop(MEETING_SOCKET, None)
    endpoint, run = os.environ[MEETING_ENDPOINT], os.environ[MEETING_RUN]
    yield meet(endpoint, run, rank, ranks, None if listener is None else int(listener)), rank, ranks
    raise RuntimeError("ranks meet once")  # as torch's handlers


register_rendezvous_handler(_SCHEME, _meet_as_arranged)
