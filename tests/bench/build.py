"""`millrace build crawl` from end to end: one worker and two, again with nothing changed, and what it costs around."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.server.local import local_server
from infra.store.lake import Lake
from infra.store.manifest import all_manifests
from tests.bench.inputs import kind_of_crawl, whole_crawl
from tests.bench.measure import Times, Workload, alternate, ratios, refuse_differences
from tests.bench.records import RECORDER, spread
from tests.bench.report import print_head, print_side

ROUNDS = 2
# The design allows orchestration so much of the work.
SHARE_WANTED = 0.02


@dataclass(frozen=True, slots=True)
class Built:
    """One build: seconds of the command, of the flow in it, and of the workers in their units, by stage."""

    command: float
    flow: float
    stages: dict[str, float]
    result: dict[str, Any]

    @property
    def workers(self) -> float:
        return sum(self.stages.values())


def run() -> None:
    """Compare the digests, time and print."""
    archives = whole_crawl()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, local_server(Path(folder) / "state"):
        numbers = itertools.count()

        def build_anew(workers: int) -> Built:
            return build(archives, Path(folder) / f"lake-{next(numbers)}", workers)

        one: list[Built] = []
        two: list[Built] = []
        runs = [lambda: one.append(build_anew(1)), lambda: two.append(build_anew(2))]
        alternate(runs, ROUNDS, time.perf_counter)
        unchanged = build(archives, Path(folder) / "lake-0", 1)
        expected = digests(one[0])
        for built in [*one, *two, unchanged]:
            refuse_differences("the first build", expected, "another build", digests(built))
    workload = _workload(archives, one[0])
    about = "`millrace build crawl`, archives to tokens, a new lake each time; Prefect's server runs already"
    print_head("build", about, workload, ["prefect", "trafilatura", "pyarrow"])
    print(f"  outputs   the same {len(expected)} artifacts with 1 worker, with 2, and again")
    _print(workload, one, two, unchanged)


def build(archives: tuple[Path, ...], lake: Path, workers: int) -> Built:
    """Run the command. Raises CalledProcessError, its output in it, when it ends badly."""
    inputs = [argument for path in archives for argument in ("--input", str(path))]
    command = [str(Path(sys.executable).with_name("millrace")), "build", "crawl", *inputs, "--lake", str(lake)]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--workers", str(workers), "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.perf_counter() - started
    result = json.loads(done.stdout.splitlines()[-1])
    return Built(seconds, result["seconds"], worker_seconds(Lake.open(str(lake))), result)


def worker_seconds(lake: Lake) -> dict[str, float]:
    """What the manifests of all artifacts of a lake say that workers took, by stage, the most first."""
    found: dict[str, float] = {}
    for manifest in all_manifests(lake):
        found[manifest.stage] = found.get(manifest.stage, 0.0) + manifest.cost.get("worker_seconds", 0.0)
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def digests(built: Built) -> list[tuple[str, str]]:
    """Artifact and digest, in the order of names."""
    return sorted((name, artifact["digest"]) for name, artifact in built.result["artifacts"].items())


def _workload(archives: tuple[Path, ...], built: Built) -> Workload[tuple[Path, ...]]:
    source = built.result["ledger"][0]
    name = f"{kind_of_crawl()} crawl, {len(archives)} files of {source['documents_in']} records"
    stored = sum(path.stat().st_size for path in archives)
    return Workload(archives, name, source["documents_kept"], "documents", stored, "of WARC as stored")


def _print(workload: Workload[Any], one: list[Built], two: list[Built], unchanged: Built) -> None:
    one_worker, two_workers = _flow_times(one), _flow_times(two)
    RECORDER.set(
        one_worker=_recorded(one_worker),
        two_workers=_recorded(two_workers),
        ratio=_recorded(ratios(two_workers, one_worker)),
        worker_seconds=[Times(tuple(built.workers for built in side)).median for side in (one, two)],
        outside=_recorded(Times(tuple((built.flow - built.workers) / built.flow for built in one))),
        stages=one[0].stages,
        unchanged=unchanged.flow,
        around=Times(tuple(built.command - built.flow for built in one + two)).median,
    )
    print_side(workload, "flow, 1 worker", one_worker)
    print_side(workload, "flow, 2 workers", two_workers)
    faster = ratios(two_workers, one_worker)
    least, most = faster.spread()
    print(
        f"  ratio     2 workers are {faster.median:.2f} times as fast as 1 ({least:.2f} to {most:.2f}, {ROUNDS} pairs)"
    )
    around = Times(tuple(built.command - built.flow for built in one + two))
    print(f"  command   Python's start and imports around the flow: median {around.median:.2f} s")
    print(f"  rebuild   nothing changed: flow {unchanged.flow:.2f} s, command {unchanged.command:.2f} s")
    print(
        f"  workers   {Times(tuple(built.workers for built in one)).median:.2f} s of the flow are units of work with "
        f"1 worker, {Times(tuple(built.workers for built in two)).median:.2f} s with 2, added up"
    )
    share = Times(tuple((built.flow - built.workers) / built.flow for built in one))
    least, most = share.spread()
    verdict = "reached" if share.median <= SHARE_WANTED else "missed"
    print(
        f"  bar       at most {SHARE_WANTED:.0%} of the time outside units of work, 1 worker, starting it included: "
        f"{verdict}, {share.median:.0%} ({least:.0%} to {most:.0%})"
    )


def _flow_times(built: list[Built]) -> Times:
    return Times(tuple(one.flow for one in built))


def _recorded(times: Times) -> dict[str, float]:
    return spread(times.seconds, times.median).model_dump()
