"""Environment variables of a local Prefect server and its clients (names as of Prefect 3.8.8)."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# Below, `PREFECT_HOME` excludes the user's profiles: a profile for another server would silently override defaults.
# Prefect's client-side analytics read `DO_NOT_TRACK`; the server reads the other two.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def server_environment(state_folder: Path, port: int, secret: str, *, services: bool) -> dict[str, str]:
    """Variables of the server process. The server requires `secret` for every request except health checks.

    `services` enables the services that only deployments need: the scheduler, late runs, worker health, automations,
    expiry of pauses and clean-up of cancelled runs. The services for the history of a run (task run recorder, event
    store) are always enabled.
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
        # Prefect's default allows every web site to read the responses.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        # The dashboard requests its data from this address; Prefect does not derive it from the port.
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        # Version 2 of the dashboard requests its settings from an analytics host on the internet.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": os.environ.get(
            "PREFECT_SERVER_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{state_folder / 'prefect.db'}"
        ),
        # SQLite writers wait for each other; with the default of 10 s, high load causes "database is locked".
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # A command may have silenced its own terminal with these; the server's log must contain the errors.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "WARNING",
        # In memory, a restart of the server loses the leases, and Prefect ends their healthy runs minutes later.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": switch for name in deployment_services},
    }


def client_environment(state_folder: Path, api_url: str, secret: str) -> dict[str, str]:
    """Variables of a process whose flow runs the server at `api_url` records; `secret` is the server's password."""
    without_proxy = [host for host in os.environ.get("NO_PROXY", "").split(",") if host]
    return {
        **QUIET,
        "PREFECT_HOME": str(state_folder),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_API_AUTH_STRING": secret,
        # The warnings of this project stand on the page of a flow run, too.
        "PREFECT_LOGGING_EXTRA_LOGGERS": "millrace",
        "NO_PROXY": ",".join(dict.fromkeys([*without_proxy, "127.0.0.1", "localhost"])),
    }


@contextmanager
def applied(environment: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables for this process and its children, and restores the previous values at the end.

    Prefect reads the environment once, at import. If Prefect is already imported, its settings are reloaded.
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
