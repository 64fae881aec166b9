"""Which tests `make check` leaves out: those that start a server, a training process, a browser or a build.

Their files and folders are listed here, and the fixtures that start such things. `tests/conftest.py` marks all other
tests ``quick``.
"""

from __future__ import annotations

SLOW_FIXTURES = frozenset({"millrace", "swift", "server", "browser", "built", "tools"})
SLOW_PATHS = (
    "tests/bench",
    "tests/flows",
    "tests/infra/clusters",
    "tests/tasks/demo",
    "tests/tasks/forecast/test_making.py",
    "tests/tasks/encoding/test_forms.py",
    "tests/tasks/sources/test_dumps_in_the_lake.py",
    "tests/tasks/c4/test_judges.py",
    "tests/tasks/heuristics/test_judges.py",
    "tests/tasks/test_cc_net.py",
    "tests/tasks/test_parts_of_sources.py",
    "tests/tasks/test_rights_in_a_build.py",
    "tests/infra/engine",
    "tests/tasks/report",
    "tests/infra/server",
    "tests/infra/setup/test_install.py",
    "tests/infra/store/test_lake_s3.py",
    "tests/infra/test_kenlm_tools.py",
    "tests/infra/test_launcher.py",
    "tests/infra/test_orchestration.py",
    "tests/infra/test_prefect_behaviour.py",
    "tests/infra/test_presence.py",
    "tests/model/test_accounting.py",
    "tests/model/test_heartbeat.py",
    "tests/model/test_launch.py",
    "tests/model/test_parallel.py",
    "tests/model/test_parity.py",
    "tests/model/test_remote.py",
    "tests/model/test_resume.py",
    "tests/model/test_saving.py",
    "tests/model/test_states.py",
    "tests/model/test_termination.py",
    "tests/tasks/evaluation/test_evaluate.py",
    "tests/tasks/test_training.py",
    "tests/test_contributing.py",
)
