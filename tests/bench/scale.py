"""How the cost of a build grows: 2,000, 20,000 and 200,000 documents of JSON Lines, in counted work.

    python -m tests.bench.scale                                   # all three sizes: half an hour on two cores
    python -m tests.bench.scale --documents 2000 20000

Texts are sentences of real pages in new combinations; one in a hundred documents is an edited copy of another, and one
is a copy of a template. Each size is built by a process of its own, in a new lake.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.store.manifest import all_manifests
from tasks.builds import BuildRecord
from tests.bench.inputs import page_texts
from tests.bench.records import RECORDER, write_record
from tests.bench.report import machine, versions

SIZES = (2_000, 20_000, 200_000)
_PER_FILE = 5_000
RECIPE = {
    "name": "scale",
    "sources": {
        "lines": {
            "read": {"jsonl": {"id_field": "id"}},
            "steps": ["language", "heuristics", "near_duplicates"],
            "rules": [{"column": "language.score", "at_least": 0.1, "reason": "low_language_score"}],
        }
    },
    "tokenizer": {"vocabulary_size": 1000, "most_documents": 2000},
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a build cost. Bytes are those of parts in the lake, and the driver's seconds of CPU.

    Peaks are of one process, in MiB.
    """

    documents: int
    kept: int
    near_duplicates: int
    units: int
    lake_bytes: int
    text_bytes: int
    worker_seconds: float
    driver_seconds: float
    wall_seconds: float
    driver_peak: float
    worker_peak: float


def write_lines(folder: Path, documents: int, per_file: int = _PER_FILE) -> int:
    """Write the documents in files of so many; returns their UTF-8 bytes of text."""
    sentences = [
        part for text in page_texts().value for part in re.split(r"(?<=[.!?])\s+", text) if 40 < len(part) < 400
    ]
    size = 0
    for start in range(0, documents, per_file):
        with (folder / f"{start:09}.jsonl").open("w") as file:
            for number in range(start, min(start + per_file, documents)):
                text = _text(sentences, number)
                size += len(text.encode())
                file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    return size


def build(documents: int, workers: int, folder: Path) -> Cost:
    """Make the corpus and the tokens of so many documents in a new lake below `folder`."""
    (folder / "in").mkdir()
    text_bytes = write_lines(folder / "in", documents)
    lake = Lake.open(str(folder / "lake"))
    with LocalPool(workers) as pool, _Peaks() as peaks:
        started = time.perf_counter()
        record = corpus_of(folder / "in", lake, pool)
        wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    dropped = {entry["stage"]: sum(entry["dropped"].values()) for entry in record.ledger}
    return Cost(
        documents=documents,
        kept=record.documents,
        near_duplicates=dropped["near_duplicates"],
        units=sum(1 for _ in lake.list("markers")),
        lake_bytes=sum(entry.size for entry in lake.list("parts")),
        text_bytes=text_bytes,
        worker_seconds=round(sum(manifest.cost["worker_seconds"] for manifest in all_manifests(lake)), 1),
        driver_seconds=round(used.ru_utime + used.ru_stime, 1),
        wall_seconds=round(wall, 1),
        driver_peak=round(used.ru_maxrss / 1024, 1),
        worker_peak=round(peaks.most / (1 << 20), 1),
    )


def recipe_of(inputs: Path) -> dict[str, Any]:
    """The recipe for the files of a folder."""
    sources = {"lines": {**RECIPE["sources"]["lines"], "inputs": [str(inputs)]}}  # type: ignore[index]
    return {**RECIPE, "sources": sources}


def corpus_of(inputs: Path, lake: Lake, pool: LocalPool) -> BuildRecord:
    """Build the corpus and the tokens of the files of a folder, without Prefect."""
    from flows.build import make_corpus
    from flows.recipe import parse_recipe
    from tasks.recipe.resolve import resolve
    from tests.tasks.report.conftest import DirectRunner

    resolved = resolve(parse_recipe(recipe_of(inputs), "scale"))
    return make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), resolved)


def check(costs: list[Cost]) -> list[str]:
    """What grew faster than n log n from one size to the next, in words."""
    told = []
    for small, large in itertools.pairwise(costs):
        times = large.documents / small.documents
        allowed = times * math.log(large.documents) / math.log(small.documents)
        for name in ("units", "lake_bytes", "worker_seconds"):
            before, after = getattr(small, name), getattr(large, name)
            if after > allowed * before:
                told.append(f"{name}: {after / before:.1f} times for {times:.0f} times the documents")
        for name in ("driver_peak", "worker_peak"):
            # A worker reads a shard or a partition, and both reach their full size somewhere between the sizes.
            if getattr(large, name) > 4 * getattr(small, name):
                told.append(f"{name}: {getattr(large, name) / getattr(small, name):.1f} times")
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=SIZES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the result into this folder")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        with tempfile.TemporaryDirectory(prefix="millrace-scale-") as folder:
            print(json.dumps(asdict(build(chosen.documents[0], chosen.workers, Path(folder)))))
        return 0
    costs = []
    for documents in chosen.documents:
        command = [sys.executable, "-m", "tests.bench.scale", "--one", "--workers", str(chosen.workers)]
        done = subprocess.run([*command, "--documents", str(documents)], stdout=subprocess.PIPE, text=True, check=True)
        costs.append(Cost(**json.loads(done.stdout.splitlines()[-1])))
        print(json.dumps(asdict(costs[-1])), flush=True)
    told = check(costs)
    if chosen.record:
        about = "builds of JSON Lines of sentences in new combinations, in new lakes"
        RECORDER.start(name="scale", about=about, machine=machine(), versions=versions(["pyarrow", "numba"]))
        RECORDER.set(costs=[asdict(cost) for cost in costs], faster=told)
        write_record(RECORDER.finish("python -m tests.bench.scale"), chosen.record)
    print("\n".join(told) or "nothing grew faster than n log n")
    return 1 if told else 0


def _text(sentences: list[str], number: int) -> str:
    if number % 100 == 99:
        return f"{_combined(sentences, random.Random(0))} Page {number}."
    if number % 100 == 49:
        return f"{_combined(sentences, random.Random(number - 25))} Seen {number} times."
    return _combined(sentences, random.Random(number))


def _combined(sentences: list[str], chance: random.Random) -> str:
    return "\n".join(" ".join(chance.choices(sentences, k=5)) for _ in range(chance.randrange(3, 8)))


class _Peaks:
    """Looks at the memory of this process's children from time to time."""

    def __enter__(self) -> _Peaks:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.2):
            for child in psutil.Process().children(recursive=True):
                try:
                    self.most = max(self.most, child.memory_info().rss)
                except psutil.Error:
                    continue


if __name__ == "__main__":
    sys.exit(main())
