"""`python -m tasks.evaluation.evaluate --lake URI --run-key KEY --steps 0,64 …` scores checkpoints of a run.

`tasks.evaluation.launch` builds the whole command. Checkpoints with scores in the lake are not scored again.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch import nn

from infra.store.digests import sha256_file
from infra.store.errors import StoreError, StoreUnavailable
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from model.analysis.scoring import Perplexity, load_checkpoint, perplexity
from model.checkpoints.manifest import read_checkpoint
from model.run.config import read_run
from model.supervision.launch import die_with_parent
from tasks.evaluation.definitions import LoadedTask, load_tasks
from tasks.evaluation.harness import DECIMALS, NativeModel, score
from tasks.evaluation.inputs import HeldOut, held_out_files, open_tokenizer, tokens_artifact
from tasks.evaluation.results import read_evaluation, write_evaluation
from tasks.token_artifact import read_summary

VERSION = 1
LIBRARIES = ("lm_eval", "numpy", "tokenizers", "torch")
# Sequences per batch. On a CPU, larger batches gain nothing and cost the time of their padding.
BATCH = 1
TRANSIENT = 75  # EX_TEMPFAIL of sysexits.h: the store was unavailable, so the same command may work later


class Evaluation:
    """Evaluates checkpoints of a run.

    The constructor raises if an input is invalid, before any checkpoint is loaded.
    """

    def __init__(self, lake: Lake, run: str, tokens: Manifest, tokenizer: Path, tasks: Path, threads: int) -> None:
        self.lake, self.run, self.threads = lake, run, threads
        self.length = read_run(lake, run).training.sequence_length
        self.tasks: list[LoadedTask] = load_tasks(tasks)
        self.held_out: list[HeldOut] = held_out_files(tokens)
        self.end_of_document: str = read_summary(lake, tokens)["end_of_document"]
        self.tokenizer: tokenizers.Tokenizer = open_tokenizer(tokenizer, tokens, self.end_of_document)
        self.tokenizer_digest = sha256_file(tokenizer)

    def identity(self, step: int) -> dict[str, Any]:
        """All inputs that determine the scores of a checkpoint. Raises NotThere if the run has none at that step."""
        return {
            "evaluation": VERSION,
            "checkpoint": read_checkpoint(self.lake, self.run, step).digest,
            "tokenizer": self.tokenizer_digest,
            "held_out": [one.identity for one in self.held_out],
            "length": self.length,
            "tasks": [[task.definition.name, task.digest] for task in self.tasks],
            "libraries": {name: version(name) for name in LIBRARIES},
            # Both change the rounding of sums.
            "batch": BATCH,
            "threads": self.threads,
        }

    def evaluate(self, step: int, cache: Path) -> tuple[dict[str, Any], bool]:
        """Return the stored scores of a checkpoint, and whether they existed already."""
        identity = self.identity(step)
        if (found := read_evaluation(self.lake, self.run, step, identity)) is not None:
            return found, True
        began = time.monotonic()
        model = load_checkpoint(self.lake, self.run, step, cache, self.threads)
        native = NativeModel(model, self.tokenizer, BATCH, self.end_of_document)
        scores = {
            "held_out": self._held_out(model, cache),
            "tasks": [asdict(score(native, task)) for task in self.tasks],
            "environment": {"processor": torch.backends.cpu.get_cpu_capability()},
            "seconds": round(time.monotonic() - began, 3),
        }
        return write_evaluation(self.lake, self.run, step, identity, scores), False

    def _held_out(self, model: nn.Module, cache: Path) -> dict[str, Any]:
        by_source = {
            one.source: perplexity(model, one.open(self.lake, cache), self.length, BATCH) for one in self.held_out
        }
        whole = Perplexity(
            sum(one.negative_log_likelihood for one in by_source.values()),
            sum(one.tokens for one in by_source.values()),
        )
        return {**_plain(whole), "sources": {source: _plain(one) for source, one in by_source.items()}}


def main() -> int:
    """Parse the command line, evaluate, and print one line per checkpoint. Return the exit status."""
    die_with_parent()
    parser = argparse.ArgumentParser(prog="tasks.evaluation.evaluate", description=__doc__)
    parser.add_argument("--lake", required=True, help="URI of the lake")
    parser.add_argument("--run-key", required=True, help="key of the run")
    parser.add_argument("--steps", required=True, type=_steps, help="steps of the checkpoints, separated by commas")
    parser.add_argument("--tokens", required=True, help="key of the tokens artifact with the held-out files")
    parser.add_argument("--tokenizer", required=True, type=Path, help="file of the tokenizer of these tokens")
    parser.add_argument("--tasks", required=True, type=Path, help="file of task definitions")
    parser.add_argument("--cache", required=True, type=Path, help="folder for local copies")
    parser.add_argument("--threads", required=True, type=int, help="threads of torch")
    arguments = parser.parse_args()
    try:
        lake = Lake.open(arguments.lake)
        evaluation = Evaluation(
            lake,
            arguments.run_key,
            tokens_artifact(lake, arguments.tokens),
            arguments.tokenizer,
            arguments.tasks,
            arguments.threads,
        )
        for step in arguments.steps:
            print(_line(*evaluation.evaluate(step, arguments.cache)), flush=True)
    except (StoreError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return TRANSIENT if isinstance(error, StoreUnavailable) else 1
    return 0


def _steps(text: str) -> list[int]:
    return [int(step) for step in text.split(",")]


def _plain(found: Perplexity) -> dict[str, Any]:
    return {"perplexity": round(found.value, DECIMALS), "tokens": found.tokens}


def _line(result: dict[str, Any], cached: bool) -> str:
    scores = [f"held-out perplexity {result['held_out']['perplexity']:.3f}"]
    for task in result["tasks"]:
        scores += [f"{task['name']} {metric} {value:.4g}" for metric, value in sorted(task["metrics"].items())]
    cost = "cached" if cached else f"{result['seconds']} s"
    return f"step {result['step']}: {', '.join(scores)} ({cost})"


if __name__ == "__main__":
    sys.exit(main())
