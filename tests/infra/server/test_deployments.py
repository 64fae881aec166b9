"""prefect.yaml is what it means: nothing in it is ignored, and every name in it exists."""

import shutil
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule

from infra.server.deployments import DEPLOYMENTS_FILE, DeploymentsError, check_deployments, deploy_file
from infra.server.objects import apply_objects, read_objects

ROOT = Path(__file__).parents[3]
TOYS = Path(__file__).parents[1] / "toys"


def test_the_projects_own_file() -> None:
    names = set(check_deployments(ROOT))
    assert names >= {"build_corpus/corpus", "train_model/training", "evaluate_run/evaluation"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"descripton": "x"}, r"deployments\[0\]\.descripton: Prefect would ignore"),
        ({"work_pool": {"nam": "millrace"}}, r"deployments\[0\]\.work_pool\.nam: Prefect would ignore"),
        ({"schedules": [{"crom": "0 3 * * 0", "slug": "weekly"}]}, "crom"),
        ({"schedules": [{"cron": "0 3 * * 0"}]}, "schedule 0 has no slug"),
        ({"entrypoint": "missing.py:staged"}, r"missing\.py does not exist"),
        ({"entrypoint": "flows.py:nothing"}, "no function nothing"),
        ({"parameters": {"folders": "x"}}, "staged has no parameter folders"),
        (
            {"schedules": [{"cron": "0 3 * * 0", "slug": "weekly", "parameters": {"foldr": "x"}}]},
            "staged has no parameter foldr",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    shutil.copy(TOYS / "flows.py", tmp_path)
    given = yaml.safe_load((TOYS / DEPLOYMENTS_FILE).read_text())
    given["deployments"][0] |= change
    (tmp_path / DEPLOYMENTS_FILE).write_text(yaml.safe_dump(given))
    with pytest.raises(DeploymentsError, match=reason):
        check_deployments(tmp_path)


@pytest.mark.usefixtures("prefect_server")
def test_what_a_person_changed_on_the_server_is_kept(tmp_path: Path) -> None:
    """Until the file changes: a second `up` is no reason to undo a schedule."""
    shutil.copy(TOYS / "flows.py", tmp_path)
    given = yaml.safe_load((TOYS / DEPLOYMENTS_FILE).read_text())
    given["deployments"] = given["deployments"][:1]
    [entry] = given["deployments"]
    entry |= {"name": "kept", "schedules": [{"cron": "0 3 * * 0", "slug": "weekly", "active": False}]}
    full_name = f"{entry['entrypoint'].rpartition(':')[2]}/kept"

    def deploy(**options: bool) -> bool:
        (tmp_path / DEPLOYMENTS_FILE).write_text(yaml.safe_dump(given))
        return deploy_file(client, tmp_path, **options)["kept"].renewed

    def crons() -> list[tuple[str, bool]]:
        return [(each.schedule.cron, each.active) for each in client.read_deployment_by_name(full_name).schedules]

    with get_client(sync_client=True) as client:
        apply_objects(client, read_objects())
        assert deploy()
        assert crons() == [("0 3 * * 0", False)]
        deployment = client.read_deployment_by_name(full_name)
        changed = CronSchedule(cron="30 4 * * 1")
        client.update_deployment_schedule(deployment.id, deployment.schedules[0].id, active=True, schedule=changed)
        assert not deploy()
        assert crons() == [("30 4 * * 1", True)]

        entry["description"] = "another"
        assert deploy() and not deploy()
        assert client.read_deployment_by_name(full_name).description == "another"
        assert crons() == [("0 3 * * 0", False)]
        assert deploy(reset=True)
        client.delete_deployment(deployment.id)
        assert deploy(), "it was deleted on the server"
        client.delete_deployment(client.read_deployment_by_name(full_name).id)
