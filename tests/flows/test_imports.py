"""What commands do not import: libraries that take long, and that the command has no use for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "torch._dynamo", "prefect", "numba", "scipy", "deepspeed", "trafilatura", "httpx", "s3fs", "ray"}
PROGRAM = """
import json, sys
from contextlib import redirect_stdout, redirect_stderr
from io import StringIO
with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
    from flows.cli.main import main
    try:
        main()
    except SystemExit:
        pass
print(json.dumps(sorted(sys.modules)))
"""
HELP = [["--help"], ["build", "--help"], ["explain", "--help"], ["train", "--help"]]
OF_A_LAKE = [[name, "--lake", "no-lake"] for name in ("artifacts", "ledger x", "explain x", "runs", "verify x")]
PLAN = ["plan", "training", "pythia-1b", "--gpus", "8", "--gpu", "h100"]


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        *((command, set()) for command in (*HELP, *OF_A_LAKE)),
        # A recipe is checked with the declarations of its stages, and with the extractor's tables.
        (["recipe", "check", "crawl"], {"trafilatura"}),
        (["build", "no-recipe"], set()),
        (PLAN, {"torch"}),
    ],
    ids=" ".join,
)
def test_a_command_imports_what_it_needs(command: list[str], allowed: set[str], tmp_path: object) -> None:
    words = [word for part in command for word in part.split()]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True)
    assert HEAVY & {*json.loads(done.stdout)} <= allowed
