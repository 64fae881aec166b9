"""DeepSpeed is imported without what only its autotuner uses."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from model.engine.loading import load_deepspeed
assert load_deepspeed().zero.Init
assert not [name for name in sys.modules if name.partition(".")[0] == "mlflow"]
import mlflow
assert mlflow.start_run
"""


def test_ranks_do_not_import_mlflow_and_its_tracker_can() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
