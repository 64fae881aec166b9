"""A toy line from files to a fitted total, as a program that tests kill: prints the digest of every artifact."""

from __future__ import annotations

import json
import sys

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import Call, FitPlan, PassPlan, Plan, SourcePlan
from infra.engine.pool import LocalPool
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tests.infra.engine import toy


def run_line(lake: Lake, pattern: str, workers: int) -> dict[str, str]:
    """Carry out all shapes of stages once; gives stage → digest."""
    config = toy.ToyConfig()
    with LocalPool(workers) as pool:

        def carry_out(plan: Plan) -> Manifest:
            return plan.carry_out(lake, pool, lambda label, done, total: None)[0]

        documents = carry_out(SourcePlan(Call(toy.read_lines, config), take_inventory(lake, [pattern]).files))
        made = [
            documents,
            carry_out(PassPlan((Call(toy.measure_length, config),), documents)),
            carry_out(PartitionedPlan(Call(toy.gathered_counts, config), documents)),
            carry_out(FitPlan(Call(toy.fit_total, config), documents)),
        ]
    return {manifest.stage: manifest.digest for manifest in made}


if __name__ == "__main__":
    print(json.dumps(run_line(Lake.open(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
