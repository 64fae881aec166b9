"""Stops long work when a person presses Suspend on the page of its flow run."""

from __future__ import annotations

import atexit
import logging
import time
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.events import Event, RelatedResource, Resource
from prefect.exceptions import Pause, PrefectException
from prefect.runtime import flow_run

POLL_SECONDS = 10.0
ENDED = "prefect.flow-run.suspension-took-effect"
_logger = logging.getLogger("millrace.suspension")


class SuspensionCheck:
    """Call it often from the flow's main thread; it asks the server every `POLL_SECONDS`.

    Prefect itself looks at a suspension only between tasks (3.8.8), and not at all in a run without a deployment: a
    training would run on beside the state Suspended, and Resume would start a second one.
    """

    def __init__(self) -> None:
        self._asked = time.monotonic()

    def __call__(self) -> None:
        """Raise Pause if the current flow run, or the one that it belongs to, was suspended.

        Prefect then ends the process and keeps the state.
        """
        context = FlowRunContext.get()
        if context is None:
            return
        # Of a run with a deployment; remembered, so that a Resume before this call does not hide it.
        state = context.flow_run_suspension_request.get_state()
        if state is None and time.monotonic() - self._asked >= POLL_SECONDS:
            self._asked = time.monotonic()
            try:
                with get_client(sync_client=True) as client:
                    state = client.read_flow_run(UUID(flow_run.root_flow_run_id)).state
            except (httpx.HTTPError, PrefectException) as error:
                # The work does not depend on the server.
                _logger.warning("could not ask whether the run is suspended: %s", error)
        if state is not None and state.is_paused() and state.name == "Suspended":
            atexit.register(_say_ended, flow_run.root_flow_run_id)
            raise Pause(state=state)


def _say_ended(run: str) -> None:
    """Send an event after the last heartbeat: the automation for silent runs would take the silence for a crash."""
    event = Event(
        event=ENDED,
        resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run}"}),
        related=[RelatedResource({"prefect.resource.id": "prefect.tag.millrace", "prefect.resource.role": "tag"})],
    )
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
    except (httpx.HTTPError, PrefectException) as error:
        _logger.warning("could not tell the server that the suspension took effect: %s", error)
