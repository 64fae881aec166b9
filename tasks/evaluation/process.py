"""Evaluates checkpoints of a run in a separate process, from a flow that does not import torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import infra
from infra.launcher import LaunchError, launch
from infra.scratch import scratch_folder
from infra.store.errors import NotThere, StoreUnavailable
from infra.store.lake import Lake
from model.checkpoints.manifest import committed_steps
from model.run.config import read_run
from tasks.evaluation.inputs import fetch_tokenizer, held_out_texts, open_tokenizer, tokens_of_run
from tasks.evaluation.launch import evaluate_command
from tasks.evaluation.made_tasks import write_made_tasks
from tasks.evaluation.results import read_evaluations
from tasks.token_artifact import read_summary

_TRANSIENT_STATUS = 75


class EvaluationFailed(Exception):
    """The evaluation ended with an error that a retry would not fix."""


def evaluate(
    lake: Lake,
    run: str,
    *,
    steps: Sequence[int],
    tasks: Path | None,
    items: int,
    on_line: Callable[[str], None],
    on_step: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """Held-out perplexity and task scores of the checkpoints at `steps`; scores already in the lake are reused.

    `tasks` is a file of task definitions. Without one, two tasks with `items` items each are made from the held-out
    documents: the next sentence, and the last word of a passage. Raises NotThere for a step without a checkpoint,
    EvaluationFailed with the last lines of the process, and StoreUnavailable.
    """
    there = committed_steps(lake, run)
    if missing := [step for step in steps if step not in there]:
        raise NotThere(f"the run {run[:12]} has no checkpoint at {missing}; it has {there}")
    lines: list[str] = []

    def follow(line: str) -> None:
        lines.append(line)
        on_line(line)
        on_step(sum(seen.startswith("step ") for seen in lines), len(steps))

    with scratch_folder("evaluate-") as cache:
        tokens = tokens_of_run(lake, run)
        tokenizer = fetch_tokenizer(lake, tokens, cache)
        if tasks is None:
            opened = open_tokenizer(tokenizer, tokens, read_summary(lake, tokens)["end_of_document"])
            texts = list(held_out_texts(lake, tokens, opened, cache))
            positions = read_run(lake, run).model.positions
            tasks = write_made_tasks(texts, cache, items, positions)
        command = evaluate_command(
            lake.uri, run, steps, tokens=tokens.key, tokenizer=tokenizer, tasks=tasks.absolute(), cache=cache
        )
        root = Path(infra.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        try:
            status = launch(command, environment=environment, folder=root, on_line=follow)
        except LaunchError as error:
            raise EvaluationFailed(f"the evaluation of {run[:12]} could not start: {error}") from error
    last = "\n".join(lines[-5:])
    if status == _TRANSIENT_STATUS:
        raise StoreUnavailable(f"the evaluation of {run[:12]} could not reach the lake: {last}")
    if status != 0:
        raise EvaluationFailed(f"the evaluation of {run[:12]} failed: {last}")
    return [result for result in read_evaluations(lake, run) if result["step"] in steps]
