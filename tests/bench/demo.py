"""`millrace demo` in a new lake: what became of every record, the models' perplexities, and the seconds it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.records import RECORDER
from tests.bench.report import machine, versions


def run() -> None:
    """Run the demo as a user does, record its table and print it."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        found = run_demo(Path(folder))
    about = "`millrace demo`, a new lake; the set-up is done"
    RECORDER.start(name="demo", about=about, machine=machine(), versions=versions(["prefect", "torch"]))
    RECORDER.set(**summary(found))
    print(f"\ndemo: {about}\n  machine   {machine()}\n{json.dumps(summary(found), indent=1)}")


def run_demo(folder: Path) -> dict[str, Any]:
    """The JSON object that the command prints. Raises CalledProcessError when it ends badly."""
    command = [str(Path(sys.executable).with_name("millrace")), "demo", "--json"]
    environment = os.environ | {"MILLRACE_STATE": str(folder / "state"), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    command += ["--lake", str(folder / "lake"), "--reports", str(folder / "reports")]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """What the README shows of the command's result: the funnel, the totals, the first and last score of each run."""
    build = found["build"]
    return {
        "seconds": found["seconds"],
        "documents": build["documents"],
        "tokens": build["tokens"],
        "ledger": [
            {name: entry[name] for name in ("stage", "documents_in", "documents_kept", "dropped", "failed")}
            for entry in build["ledger"]
        ],
        "runs": [
            {
                "preset": one["preset"],
                "steps": one["evaluations"][-1]["step"],
                "first": one["evaluations"][0]["held_out"]["perplexity"],
                "last": one["evaluations"][-1]["held_out"]["perplexity"],
            }
            for one in found["runs"]
        ],
    }
