"""A toy line from files to a fitted total, as a program that tests kill; it prints the digest of every artifact."""

from __future__ import annotations

import json
import sys

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage, FitPlan, PassPlan, Plan, SelectPlan, SourcePlan
from infra.engine.pool import Engine, LocalPool
from infra.engine.views import Annotation, View
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tests.infra.engine import toy


def run_line(lake: Lake, engine: Engine, pattern: str) -> dict[str, str]:
    """Run every kind of stage once; gives stage → digest."""
    config = toy.ToyConfig()

    def make(plan: Plan) -> Manifest:
        return plan.run(lake, engine, lambda label, done, total: None)[0]

    documents = make(SourcePlan(ConfiguredStage(toy.read_lines, config), take_inventory(lake, [pattern]).files))
    view = View("toy", documents)
    length = make(PassPlan((ConfiguredStage(toy.measure_length, config),), view))
    measured = View("toy", documents, annotations=(("toy_length", Annotation(length)),))
    made = [
        documents,
        length,
        make(PartitionedPlan(ConfiguredStage(toy.letter_counts, config), (view,))),
        make(FitPlan(ConfiguredStage(toy.fit_total, config), (view,))),
        make(SelectPlan(ConfiguredStage(toy.keep_long, config), measured)),
    ]
    return {manifest.stage: manifest.digest for manifest in made}


if __name__ == "__main__":
    with LocalPool(int(sys.argv[3])) as pool:
        print(json.dumps(run_line(Lake.open(sys.argv[1]), pool, sys.argv[2])))
