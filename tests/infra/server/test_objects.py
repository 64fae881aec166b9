"""Pools, queues and automations from one file, applied twice, drifted and mended."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.events.schemas.automations import EventTrigger

from infra.attempts import BY_ITSELF
from infra.server.lost_runs import MOST_ATTEMPTS
from infra.server.objects import OBJECTS_FILE, ObjectsError, apply_objects, read_objects


@pytest.mark.usefixtures("prefect_server")
def test_applying_twice_changes_nothing_and_drift_is_mended() -> None:
    objects = read_objects()
    with get_client(sync_client=True) as client:
        apply_objects(client, objects)
        assert apply_objects(client, objects) == []

        pool = client.read_work_pool("millrace")
        assert (pool.type, pool.concurrency_limit) == ("process", 4)
        assert pool.base_job_template["variables"]["properties"] == {}
        assert client.read_work_queue_by_name("training", work_pool_name="millrace").concurrency_limit == 1

        automation = client.read_automations_by_name("millrace: a crashed run goes on")[0]
        client.update_work_pool("millrace", WorkPoolUpdate(concurrency_limit=99))
        client.delete_automation(automation.id)
        assert apply_objects(client, objects) == [
            "work pool millrace: changed",
            "automation 'millrace: a crashed run goes on': created",
        ]
        assert client.read_work_pool("millrace").concurrency_limit == 4
        assert len(client.read_automations_by_name("millrace: a crashed run goes on")) == 1


def test_keys_that_prefect_would_ignore_are_refused(tmp_path: Path) -> None:
    given = yaml.safe_load(OBJECTS_FILE.read_text())
    given["automations"][0]["trigger"]["witin"] = 90
    (tmp_path / "objects.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(ObjectsError, match=r"automations\[0\]\.trigger\.witin"):
        read_objects(tmp_path / "objects.yaml")


def test_the_windows_fit_the_heartbeat_and_resuming_is_capped() -> None:
    objects = read_objects()
    silent, crashed = (automation.trigger for automation in objects.automations)
    assert isinstance(silent, EventTrigger) and isinstance(crashed, EventTrigger)
    heartbeat = int(objects.work_pools[0].environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert silent.within >= timedelta(seconds=3 * heartbeat)
    [action] = objects.automations[1].actions
    assert str(action.model_dump()["message"]).startswith(BY_ITSELF), "it counts as a restart (infra.attempts)"
    assert crashed.model_dump()["match"]["prefect.run-count"] == [str(n) for n in range(1, MOST_ATTEMPTS + 1)]
