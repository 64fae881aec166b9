"""A schedule starts runs: the scheduler of the pinned Prefect works with the pinned packages."""

from __future__ import annotations

import time
from datetime import timedelta

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.schedules import IntervalSchedule

from infra.server.process import LOG_FILE
from infra.server.service_errors import service_errors
from tests.conftest_servers import PrefectServer

WAIT = 120.0  # seconds; the scheduler looks at changed deployments every 5


@flow
def tick() -> None:
    """What a schedule starts."""


def test_a_schedule_has_runs(prefect_server: PrefectServer) -> None:
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            client.create_flow(tick),
            name="tick",
            schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(minutes=5)), active=True)],
        )
        this = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        deadline = time.monotonic() + WAIT
        try:
            while not (runs := client.read_flow_runs(deployment_filter=this)):
                assert time.monotonic() < deadline, (prefect_server.state_folder / LOG_FILE).read_text()[-4000:]
                time.sleep(0.2)
        finally:
            client.delete_deployment(deployment)
    assert runs[0].auto_scheduled
    failed = [error for error in service_errors(prefect_server.state_folder / LOG_FILE) if "schedule" in error.service]
    assert not failed, "\n".join(map(str, failed))
