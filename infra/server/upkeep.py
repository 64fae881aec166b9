"""What `millrace up` looks after while its worker runs: its server, and runs that nobody else would end or resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from infra.server.local import keep_running
from infra.server.process import ServerNotStarted

UPKEEP_SECONDS = 15.0


def look_after(state_folder: Path, api_url: str, pool: str, tell: Callable[[str], None]) -> None:
    """Restart a dead server at `api_url`, reschedule runs of `pool` that did not start, end runs of dead commands.

    `tell` gets a line for each change, and for a server that cannot be asked.
    """
    # Prefect reads its settings when it is imported.
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    from infra.server.commands import end_lost_commands
    from infra.server.lost_runs import resume_unstarted_runs

    try:
        if keep_running(state_folder, api_url):
            tell("the server had died, and runs again")
        with get_client(sync_client=True) as client:
            for line in [*resume_unstarted_runs(client, pool), *end_lost_commands(client, state_folder, api_url)]:
                tell(line)
    except (httpx.HTTPError, PrefectException, OSError, ServerNotStarted) as error:
        tell(f"the server could not be asked, and is asked again in {UPKEEP_SECONDS:.0f} s: {error}")
