"""`millrace up`: server, dashboard, deployments and a worker in one command, until Ctrl-C."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from infra.launcher import launch
from infra.server.keeper import CRASH_SECONDS, UP_FILE, UP_LOCK, lock
from infra.server.local import local_server
from infra.server.password import where_it_is
from infra.server.process import LOG_FILE
from infra.server.repeat import repeated
from infra.server.service_errors import tell_service_errors
from infra.server.upkeep import UPKEEP_SECONDS, look_after
from infra.visible import visible

if TYPE_CHECKING:  # these modules import Prefect, which reads its settings at import
    from prefect.client.orchestration import SyncPrefectClient

    from infra.server.objects import WorkPoolSpec

PROJECT = Path(__file__).parents[2]
# Time for the worker's flow runs to report that they were stopped.
GRACE_SECONDS = 20.0


def up(state_folder: Path, port: int, deploy: "Callable[[SyncPrefectClient], Iterable[str]]") -> int:
    """Runs until Ctrl-C (returns 0) or until the worker keeps failing (returns 1).

    `deploy` registers the deployments and returns lines to print. A second call on the same state folder returns 1: it
    would take the first one's runs for lost.

    With `PREFECT_API_URL` set, applies the objects and deployments to that server and starts a worker for it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # shells start background jobs with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    state_folder = state_folder.absolute()
    if os.environ.get("PREFECT_API_URL"):
        return _up(state_folder, port, deploy, ours=False)
    state_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock(state_folder / UP_LOCK) as alone:
        if not alone:
            message = f"another `millrace up` runs with {state_folder}; cure: use its dashboard, or end it"
            print(message, file=sys.stderr)
            return 1
        (state_folder / UP_FILE).unlink(missing_ok=True)
        return _up(state_folder, port, deploy, ours=True)


def _up(state_folder: Path, port: int, deploy: "Callable[[SyncPrefectClient], Iterable[str]]", ours: bool) -> int:
    print("starting the server ...", flush=True)
    with local_server(state_folder, port=port, services=True) as api_url:
        # Prefect reads its settings when it is imported.
        from prefect.client.orchestration import get_client

        from infra.server.lost_runs import resume_lost_runs
        from infra.server.objects import apply_objects, read_objects

        objects = read_objects()
        [pool] = objects.work_pools
        if ours:
            (state_folder / UP_FILE).write_text(json.dumps({"port": urlsplit(api_url).port}), encoding="utf-8")
        with get_client(sync_client=True) as client:
            for change in apply_objects(client, objects):
                print(visible(change), flush=True)
            for line in deploy(client):
                print(visible(line), flush=True)
        print(f"dashboard: {api_url.removesuffix('/api')}", flush=True)
        if ours:
            print(f"password:  {where_it_is(state_folder)}", flush=True)
            print(f"           (Prefect's own commands need it in PREFECT_API_AUTH_STRING, and the address {api_url}")
            print("           in PREFECT_API_URL; Millrace's commands find both)", flush=True)
        print(f"history:   {state_folder}", flush=True)
        print("Ctrl-C stops the server, the worker and its runs; the runs resume at the next start", flush=True)
        tell = partial(print, flush=True)
        try:
            with ExitStack() as stack:
                if ours:
                    stack.enter_context(tell_service_errors(state_folder / LOG_FILE, tell))
                    look = partial(look_after, state_folder, api_url, pool.name, tell)
                    stack.enter_context(repeated(look, UPKEEP_SECONDS))
                while True:
                    if ours:  # another server's pool may have other workers
                        look()  # the server may have died with the worker
                        with get_client(sync_client=True) as client:
                            for line in resume_lost_runs(client, pool.name):
                                print(visible(line), flush=True)
                    if _run_worker(pool) < CRASH_SECONDS:
                        break
                    print("the worker died; restarting it", flush=True)
        except KeyboardInterrupt:
            print("stopped", flush=True)
            return 0
    print("the worker keeps failing; cure: see its last lines above", file=sys.stderr)
    return 1


def _run_worker(pool: "WorkPoolSpec") -> float:
    """Runs a worker of `pool` until it ends; returns its lifetime in seconds."""
    started = time.monotonic()
    launch(
        [
            *(sys.executable, "-m", "prefect", "worker", "start"),
            *("--pool", pool.name, "--name", f"{socket.gethostname()}-{os.getpid()}"),
        ],
        environment={**os.environ, **pool.environment},
        folder=PROJECT,
        on_line=lambda line: print(visible(line), flush=True),
        grace=GRACE_SECONDS,
    )
    return time.monotonic() - started
