"""prefect.yaml is what it means: nothing in it is ignored, and every name in it exists."""

import shutil
from pathlib import Path

import pytest
import yaml

from infra.server.deployments import DEPLOYMENTS_FILE, DeploymentsError, check_deployments

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
