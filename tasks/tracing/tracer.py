"""Traces the data of a run, by step and by document, including the runs that it continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.store.errors import NotThere, StoreError
from infra.store.lake import Lake
from model.order import write_rows
from tasks.runs import find_run
from tasks.tracing.run import CannotTrace, TracedRun


class Tracer:
    """Traces the run whose key starts with `run`. Raises StoreError if there is none, or more than one."""

    def __init__(self, lake: Lake, run: str, cache: Path) -> None:
        self.run = TracedRun(lake, find_run(lake, run), cache)

    def step(self, step: int) -> dict[str, Any]:
        """The sequences of a step, their documents and spans, and the digest of all its tokens.

        Raises CannotTrace if there is no such step, and StoreError if the records of the run that took it are missing.
        """
        return self._run_of(step).step(step)

    def document(self, name: str) -> dict[str, Any]:
        """The documents with this id or URL, and the steps that read each of them, with the spans read.

        `unknown` gives the last of the first steps that cannot be traced, and the reason; None if all can. Raises
        NotThere if no tokens of the run, or of the runs that it continues, contain such a document, and CannotTrace if
        the run's own tokens belong to no artifact.
        """
        run, found = self.run, self.run.documents(name)
        unknown = None
        while run.config.origin is not None:
            last = run.config.origin.step
            try:
                run = run.parent()
                found += run.documents(name)
            except (StoreError, CannotTrace) as error:
                unknown = {"last": last, "reason": str(error)}
                break
        if not found:
            known = "" if unknown is None else f" (unknown for the steps up to {unknown['last']}: {unknown['reason']})"
            raise NotThere(
                f"the tokens of the run {self.run.config.key[:12]} have no document with the id or URL {name}; "
                f"`millrace explain` shows why{known}"
            )
        return {
            "run": self.run.config.key,
            "name": name,
            "taken": self.run.steps.last,
            "documents": _merged(found),
            "unknown": unknown,
        }

    def write_batch(self, batch: int, path: Path) -> dict[str, Any]:
        """Write batch `batch` (0-based) exactly as step `batch` + 1 read it.

        Raises CannotTrace if there is no such batch, if the file name does not end in .npy, .bin or .idx, or if the
        file exists or cannot be written.
        """
        run = self._run_of(batch + 1)
        sequences = run.sequences(batch + 1)
        if path.suffix not in (".npy", ".bin", ".idx"):
            raise CannotTrace(f"{path}: use a name that ends in .npy, or in .bin for a pair of .bin and .idx")
        files = [path] if path.suffix == ".npy" else [path.with_suffix(".bin"), path.with_suffix(".idx")]
        for file in files:
            if file.exists():
                raise CannotTrace(f"{file} already exists; remove it or use another name")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_rows(run.order, sequences, path, run.config.model.vocabulary)
        except OSError as error:
            raise CannotTrace(f"{path} cannot be written ({error}); use another path") from error
        return {
            **run.facts(batch + 1, sequences),
            "sequences": list(sequences),
            "files": [str(file) for file in files],
        }

    def _run_of(self, step: int) -> TracedRun:
        """The run that took this step: this one, or one that it continues."""
        run = self.run
        while 1 <= step <= run.config.first_step:
            run = run.parent()
        return run


def _merged(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the steps of all runs per document, in order; the same document in other tokens is a separate entry."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in documents:
        identity = tuple(one[name] for name in ("id", "url", "source", "split", "document", "tokens"))
        merged.setdefault(identity, {**one, "steps": []})["steps"].extend(one["steps"])
    for one in merged.values():
        one["steps"].sort(key=lambda sighting: (sighting["step"], sighting["sequence"]))
    return list(merged.values())
