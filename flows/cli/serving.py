"""Runs flows from a terminal: on an existing Prefect server, or on one that stops after the command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield a server's API address, with this process configured to use it. Import Prefect only inside."""
    import httpx

    from infra.server.commands import end_lost_commands, running_command
    from infra.server.local import default_state_folder, local_server

    # The flow run's page has every log line; the terminal shows only progress bars and errors.
    for handler in ("CONSOLE", "DEBUG"):
        os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    state_folder = default_state_folder()
    with local_server(state_folder) as api_url, running_command(state_folder, api_url) as tag:
        from prefect import tags
        from prefect.client.orchestration import get_client
        from prefect.exceptions import PrefectException

        # A command does not fail because the runs of another one could not be ended.
        with suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
            end_lost_commands(client, state_folder, api_url)
        with tags(tag):
            yield api_url
