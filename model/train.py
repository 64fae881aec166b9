"""`python -m model.train --lake URI --run-key KEY`: one rank of a training run; `model.launch` gives the whole command.

Started again, it resumes the run at its newest good checkpoint, or says that it is finished.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

from infra.store.lake import Lake
from model.launch import Layout, die_with_parent
from model.run import read_run
from model.trainer import Trainer, make_engine


def main() -> None:
    """Read the command line and train."""
    die_with_parent()
    # DeepSpeed 0.19.8 calls it at every launch; there is nothing that a user could do about it.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*all_gather_into_tensor.*")
    parser = argparse.ArgumentParser(prog="model.train", description=__doc__)
    parser.add_argument("--lake", required=True, help="URI of the lake")
    parser.add_argument("--run-key", required=True, help="key of the run")
    parser.add_argument("--engine", required=True, choices=["native", "deepspeed"])
    parser.add_argument(
        "--micro-batch", required=True, type=int, help="sequences of one forward and backward on one rank"
    )
    parser.add_argument("--cache", required=True, type=Path, help="folder for local copies")
    arguments = parser.parse_args()

    lake = Lake.open(arguments.lake)
    config = read_run(lake, arguments.run_key)
    layout = Layout(arguments.engine, int(os.environ.get("WORLD_SIZE", "1")), arguments.micro_batch)
    engine = make_engine(config, layout)
    trainer = Trainer(lake, config, layout, engine, arguments.cache)
    trainer.train()
    if engine.rank == 0:
        print(f"run {arguments.run_key} is finished after {trainer.step} steps")
    engine.close()


if __name__ == "__main__":
    main()
