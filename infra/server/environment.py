"""Environment variables of a local Prefect server and of the processes that talk to it (names as of Prefect 3.8.8)."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# `PREFECT_HOME` keeps the user's own profiles out: a profile that points elsewhere would silently win over defaults.
# `DO_NOT_TRACK` is read by Prefect's client-side analytics, the other two by the server.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def server_environment(state_folder: Path, port: int, secret: str, *, services: bool) -> dict[str, str]:
    """Variables of the server process itself. It asks every request for `secret`, except for its health.

    `services` switches on what only deployments need: the scheduler, late runs, worker health, automations, expiry of
    pauses and clean-up of cancelled runs. What the history of a run needs (recorder of task runs, store of events)
    is always on.
    """
    switch = "true" if services else "false"
    deployment_services = (
        "SCHEDULER",
        "LATE_RUNS",
        "FOREMAN",
        "TRIGGERS",
        "PAUSE_EXPIRATIONS",
        "CANCELLATION_CLEANUP",
        "CLEANUP_RECONCILER",
        "REPOSSESSOR",
    )
    return {
        **QUIET,
        "PREFECT_HOME": str(state_folder),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        # Prefect's default lets the pages of every web site read the answers.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        # The pages ask this address for data; it does not follow the port by itself.
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        # The second version of the pages asks an analytics host on the internet for its settings.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": os.environ.get(
            "PREFECT_SERVER_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{state_folder / 'prefect.db'}"
        ),
        # Writers of SQLite queue; the default of 10 s turns a busy moment into "database is locked".
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # A command may have silenced its own terminal with these; the server's file must name what went wrong.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "WARNING",
        # In memory, a lease is lost when the server restarts, and its healthy run is ended minutes later.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": switch for name in deployment_services},
    }


def client_environment(state_folder: Path, api_url: str, secret: str) -> dict[str, str]:
    """Variables of a process whose flows are recorded by the server at `api_url`, which asks for `secret`."""
    without_proxy = [host for host in os.environ.get("NO_PROXY", "").split(",") if host]
    return {
        **QUIET,
        "PREFECT_HOME": str(state_folder),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_API_AUTH_STRING": secret,
        "NO_PROXY": ",".join(dict.fromkeys([*without_proxy, "127.0.0.1", "localhost"])),
    }


@contextmanager
def applied(environment: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables for this process and its children, and takes them back at the end.

    Prefect reads the environment once, when it is imported; where that has happened, its settings are read again.
    """
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    _reread_settings()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reread_settings()


def _reread_settings() -> None:
    if "prefect.context" in sys.modules:
        sys.modules["prefect.context"].refresh_global_settings_context()
