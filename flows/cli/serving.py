"""Running a flow from a terminal: on the Prefect server that is there, or one that lives as long as the command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from infra.server.local import default_state_folder, local_server


@contextmanager
def prefect_server() -> Iterator[str]:
    """A server's API address, with this process set up to use it. Prefect is first imported inside."""
    # The run's page has every log line; the terminal shows our own progress and errors only.
    for handler in ("CONSOLE", "DEBUG"):
        os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    with local_server(default_state_folder()) as api_url:
        yield api_url
