"""`python -m tests.bench [NAME ...]`: runs benchmarks, all of them by default; exits with 1 when outputs differ.

Each writes its result as build/bench/NAME.json, and with `--record` into another folder as well; `make docs` renders
docs/results. Peers are installed under build/bench/peers when they are first needed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.measure import DifferentOutputs
from tests.bench.peers import tools
from tests.bench.records import RECORDER, ROOT, write_record

RESULTS = ROOT / "build" / "bench"
# Imported when they are asked for: torch alone takes more memory than some of what is measured.
BENCHMARKS = {
    "archives": "archives",
    "archive_texts": "archive_texts",
    "extraction": "extraction",
    "signatures": "signatures",
    "heuristics": "heuristics",
    "language": "language",
    "languages": "languages",
    "near_duplicates": "near_duplicates",
    "paragraphs": "paragraphs",
    "perplexity": "perplexity",
    "tokenizing": "tokenizing",
    "line": "line",
    "build": "build",
    "training": "training_cpu",
    "demo": "demo",
    "signals": "signals",
}


def load(module: str) -> Any:
    """The benchmark in that file, whose `run` carries it out."""
    return importlib.import_module(f"tests.bench.{module}")


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--list", action="store_true", help="only list the benchmarks")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write each result into this folder")
    parser.add_argument("--cc-net", type=Path, metavar="FOLDER", help="a checkout of cc_net, which is on no registry")
    chosen = parser.parse_args(arguments)
    tools.CHECKOUTS["cc_net"] = chosen.cc_net
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose from {', '.join(BENCHMARKS)}")
    status = 0
    for name in chosen.names or BENCHMARKS:
        benchmark = load(BENCHMARKS[name])
        if chosen.list:
            print(f"{name:<16}{(benchmark.__doc__ or '').splitlines()[0]}")
            continue
        try:
            benchmark.run()
            record = RECORDER.finish(f"python -m tests.bench {name}")
            for folder in filter(None, (RESULTS, chosen.record)):
                write_record(record, folder)
        except DifferentOutputs as error:
            print(f"  outputs   DIFFER, nothing is timed: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
