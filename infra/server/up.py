"""`millrace up`: server, dashboard, deployments and a worker in one command, until Ctrl-C."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infra.launcher import launch
from infra.server.keeper import CRASH_SECONDS
from infra.server.local import local_server
from infra.server.password import where_it_is
from infra.server.process import LOG_FILE
from infra.server.service_errors import tell_service_errors

if TYPE_CHECKING:  # these modules import Prefect, which reads its settings at import
    from prefect.client.orchestration import SyncPrefectClient

    from infra.server.objects import WorkPoolSpec

PROJECT = Path(__file__).parents[2]
# Time for the worker's flow runs to report that they were stopped.
GRACE_SECONDS = 20.0


def up(state_folder: Path, port: int, deploy: "Callable[[SyncPrefectClient], Iterable[str]]") -> int:
    """Runs until Ctrl-C (returns 0) or until the worker keeps failing (returns 1).

    `deploy` registers the deployments and returns lines to print.

    With `PREFECT_API_URL` set, applies the objects and deployments to that server and starts a worker for it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # shells start background jobs with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    print("starting the server ...", flush=True)
    ours = not os.environ.get("PREFECT_API_URL")
    with local_server(state_folder, port=port, services=True) as api_url:
        # Prefect reads its settings when it is imported.
        from prefect.client.orchestration import get_client

        from infra.server.lost_runs import resume_lost_runs
        from infra.server.objects import apply_objects, read_objects

        objects = read_objects()
        with get_client(sync_client=True) as client:
            for change in apply_objects(client, objects):
                print(change, flush=True)
            for line in deploy(client):
                print(line, flush=True)
            if ours:  # another server's pool may have other workers
                for line in resume_lost_runs(client, objects.work_pools[0].name):
                    print(line, flush=True)
        print(f"dashboard: {api_url.removesuffix('/api')}", flush=True)
        if ours:
            print(f"password:  {where_it_is(state_folder)}", flush=True)
            print(f"           (Prefect's own commands need it in PREFECT_API_AUTH_STRING, and the address {api_url}")
            print("           in PREFECT_API_URL; Millrace's commands find both)", flush=True)
        print(f"history:   {state_folder}", flush=True)
        print("Ctrl-C stops the server, the worker and its runs; the runs resume at the next start", flush=True)
        log = state_folder.absolute() / LOG_FILE
        try:
            with tell_service_errors(log, partial(print, flush=True)) if ours else nullcontext():
                while _run_worker(objects.work_pools[0]) >= CRASH_SECONDS:
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
        on_line=lambda line: print(line, flush=True),
        grace=GRACE_SECONDS,
    )
    return time.monotonic() - started
