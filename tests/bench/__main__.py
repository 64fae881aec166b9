"""`python -m tests.bench [NAME ...]`: runs benchmarks, all of them by default; exits with 1 when outputs differ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from tests.bench import archives, build, heuristics, language, signatures
from tests.bench.measure import DifferentOutputs

BENCHMARKS: dict[str, Callable[[], None]] = {
    "archives": archives.run,
    "signatures": signatures.run,
    "heuristics": heuristics.run,
    "language": language.run,
    "build": build.run,
}


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--list", action="store_true", help="only list the benchmarks")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose from {', '.join(BENCHMARKS)}")
    status = 0
    for name in chosen.names or BENCHMARKS:
        if chosen.list:
            print(f"{name:<12}{(sys.modules[BENCHMARKS[name].__module__].__doc__ or '').splitlines()[0]}")
            continue
        try:
            BENCHMARKS[name]()
        except DifferentOutputs as error:
            print(f"  outputs   DIFFER, nothing is timed: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
