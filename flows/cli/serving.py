"""Runs flows from a terminal: on an existing Prefect server, or on one that stops after the command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from infra.server.local import default_state_folder, local_server


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield a server's API address, with this process configured to use it. Import Prefect only inside."""
    # The flow run's page has every log line; the terminal shows only progress bars and errors.
    for handler in ("CONSOLE", "DEBUG"):
        os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    with local_server(default_state_folder()) as api_url:
        yield api_url
