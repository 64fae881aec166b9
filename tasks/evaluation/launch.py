"""The command that evaluates checkpoints in a process of its own, so that its caller needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def evaluate_command(
    lake_uri: str,
    run: str,
    steps: Sequence[int],
    *,
    tokens: str,
    tokenizer: Path,
    tasks: Path,
    cache: Path,
    threads: int = 1,
) -> list[str]:
    """The command for these checkpoints of a run. Its working directory must be the project's.

    `tokens` is the key of the tokens artifact whose held-out files are read, `tasks` a file of task definitions.
    Started again, it does only what is missing.
    """
    what = [sys.executable, "-m", "tasks.evaluation.evaluate", "--lake", lake_uri, "--run-key", run]
    what += ["--steps", ",".join(map(str, steps)), "--tokens", tokens, "--tokenizer", str(tokenizer)]
    return [*what, "--tasks", str(tasks), "--cache", str(cache), "--threads", str(threads)]
