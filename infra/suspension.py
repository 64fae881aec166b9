"""Stops long work when a person presses Suspend on the page of its flow run."""

from __future__ import annotations

import logging
import time

import httpx
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import Pause, PrefectException

POLL_SECONDS = 10.0
_logger = logging.getLogger("millrace.suspension")


class SuspensionCheck:
    """Call it often from the flow's main thread; it asks the server every `POLL_SECONDS`.

    Prefect itself looks at a suspension only between tasks (3.8.8), and not at all in a run without a deployment: a
    training would run on beside the state Suspended, and Resume would start a second one.
    """

    def __init__(self) -> None:
        self._asked = time.monotonic()

    def __call__(self) -> None:
        """Raise Pause if the current flow run is suspended: Prefect then ends the process and keeps the state."""
        context = FlowRunContext.get()
        if context is None or context.flow_run is None or time.monotonic() - self._asked < POLL_SECONDS:
            return
        self._asked = time.monotonic()
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(context.flow_run.id).state
        except (httpx.HTTPError, PrefectException) as error:
            # The work does not depend on the server.
            _logger.warning("could not ask whether the run is suspended: %s", error)
            return
        if state is not None and state.is_paused() and state.name == "Suspended":
            raise Pause(state=state)
