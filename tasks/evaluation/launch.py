"""The command that evaluates checkpoints in a separate process, so that the caller does not need torch."""

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
    """The command that evaluates these checkpoints of a run. Its working directory must be the project's.

    `tokens` is the key of the tokens artifact with the held-out files; `tasks` is a file of task definitions. The
    command can be repeated: it evaluates only checkpoints without stored scores.
    """
    what = [sys.executable, "-m", "tasks.evaluation.evaluate", "--lake", lake_uri, "--run-key", run]
    what += ["--steps", ",".join(map(str, steps)), "--tokens", tokens, "--tokenizer", str(tokenizer)]
    return [*what, "--tasks", str(tasks), "--cache", str(cache), "--threads", str(threads)]
