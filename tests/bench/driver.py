"""`python -m tests.bench.driver [SHARDS]`: the driver's own processor time in a build of many small shards.

The toy line: read, two annotations, selection, a fit. Keys, units, markers and manifests are those of a real build.
The workers are left out (their results are made up, and their time is not counted) unless `--pool N` asks for them.
The build is repeated with nothing changed and with one more file, and its artifacts are read back.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from infra.engine.plans import ConfiguredStage, FitPlan, PassPlan, Plan, SelectPlan, SourcePlan, present
from infra.engine.pool import Engine, LocalPool
from infra.engine.scheduling import Markers
from infra.engine.units import Call, PassUnit, SourceUnit, WorkUnit
from infra.engine.views import Annotation, View
from infra.store.digests import sha256_bytes
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, Marker, Part
from tests.infra.engine import toy


class MadeUp:
    """In place of workers: the markers that they would have written. `seconds` is the time of making them up."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[Markers]:
        """See `infra.engine.pool.Engine`."""
        started = time.process_time()
        found = [{call.key: _marker(call, unit) for call in _calls(unit)} for unit in units]
        self.seconds += time.process_time() - started
        for number in range(len(units)):
            progress(number + 1, len(units))
        return found


class Driver:
    """Runs the toy line and counts the driver's seconds by step."""

    def __init__(self, lake: Lake, engine: Engine, counted: MadeUp | None) -> None:
        self._lake, self._engine, self._counted = lake, engine, counted
        self.seconds: dict[str, float] = {}

    def line(self, folder: Path) -> list[Manifest]:
        """Every step of the line once; gives the artifacts."""
        config = toy.ToyConfig()
        with self._step("inventory"):
            files = take_inventory(self._lake, [str(folder)]).files
        documents = self._make("read", SourcePlan(ConfiguredStage(toy.read_lines, config), files))
        view = View("toy", documents)
        length = self._make("annotate", PassPlan((ConfiguredStage(toy.measure_length, config),), view))
        measured = View("toy", documents, annotations=(("toy_length", Annotation(length)),))
        again = self._make("annotate again", PassPlan((ConfiguredStage(toy.compare_length, config),), measured))
        chosen = self._make("select", SelectPlan(ConfiguredStage(toy.keep_long, config), measured))
        fitted = self._make("fit", FitPlan(ConfiguredStage(toy.fit_total, config), (View("toy", chosen),)))
        return [documents, length, again, chosen, fitted]

    def read_back(self, made: Sequence[Manifest]) -> None:
        """Read the manifests as what stands on them does."""
        from infra.store.manifest import manifest_at

        with self._step("read manifests"):
            for manifest in made:
                if manifest_at(self._lake, manifest.path).digest != manifest.digest:
                    raise AssertionError(f"{manifest.path} is another than was made")

    def _make(self, name: str, plan: Plan) -> Manifest:
        with self._step(name):
            found = present(self._lake, plan)
            if found is None:
                found = plan.run(self._lake, self._engine, lambda label, done, total: None)
        return found[0]

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        apart = self._counted.seconds if self._counted else 0.0
        started = time.process_time()
        yield
        apart = (self._counted.seconds if self._counted else 0.0) - apart
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started - apart


def main() -> None:
    """Run, and print seconds by step."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.driver", description=__doc__)
    parser.add_argument("shards", nargs="?", type=int, default=10_000)
    parser.add_argument("--pool", type=int, metavar="N", help="with N workers")
    parser.add_argument("--profile", action="store_true", help="print where the first build spends its time")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        inputs = Path(temporary) / "in"
        inputs.mkdir()
        for number in range(chosen.shards):
            _write(inputs, number)
        lake = Lake.open(str(Path(temporary) / "lake"))
        counted = None if chosen.pool else MadeUp()
        with LocalPool(chosen.pool) if chosen.pool else nullcontext(counted) as engine:
            assert engine is not None
            profile = cProfile.Profile(time.process_time)
            for build in ("the first build", "nothing changed", "one more file"):
                if build == "one more file":
                    _write(inputs, chosen.shards)
                driver = Driver(lake, engine, counted)
                if chosen.profile and build == "the first build":
                    made = profile.runcall(driver.line, inputs)
                else:
                    made = driver.line(inputs)
                if build == "the first build":
                    driver.read_back(made)
                print(f"{build}: {sum(driver.seconds.values()):.1f} s of the driver for {chosen.shards:,} shards")
                for name, seconds in driver.seconds.items():
                    print(f"  {name:<16}{seconds:8.2f} s {1e3 * seconds / chosen.shards:8.3f} ms a shard")
    if chosen.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def _write(folder: Path, number: int) -> None:
    (folder / f"{number:06}.txt").write_text(f"the text of number {number}\n")


def _calls(unit: WorkUnit) -> Sequence[Call]:
    return unit.calls if isinstance(unit, PassUnit) else [unit.call]


def _marker(call: Call, unit: WorkUnit) -> Marker:
    name = unit.file.name if isinstance(unit, SourceUnit) else str(unit)
    digest = sha256_bytes(call.key.encode())
    parts = (Part(digest, 1000, 100, digest, name, ".parquet"),)
    account = Account(
        rows_in=102,
        kept=100,
        dropped={"empty": 1},
        failed={"broken": 1},
        bytes_in=1000,
        bytes_out={"kept": 998, "empty": 1, "broken": 1},
        examples={"empty": "nothing"},
        failures=[{"file": name, "reason": "broken", "offset": 10, "example": "!"}],
    )
    return Marker(call.key, parts, account, 0.01)


if __name__ == "__main__":
    main()
