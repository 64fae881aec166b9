"""`python lightgbm_trees.py GIVEN OUT`: fits boosted trees with LightGBM, in an environment of its own."""

import json
import sys
from pathlib import Path

import lightgbm
import numpy as np

PARAMETERS = {
    "objective": "binary",
    "learning_rate": 0.08,
    "num_leaves": 24,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5,
    "use_missing": False,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "seed": 2,
    "verbose": -1,
}


def main() -> None:
    given = np.load(sys.argv[1])
    bits = [(given["bits"][:, [group]] >> np.arange(64, dtype=np.uint64)) & np.uint64(1) for group in range(4)]
    columns = np.concatenate((given["numbers"], *(group.astype(np.float32) for group in bits)), axis=1)
    data = lightgbm.Dataset(columns, given["labels"], weight=given["weights"])
    booster = lightgbm.train(PARAMETERS, data, int(given["rounds"]))
    Path(sys.argv[2]).write_text(json.dumps([tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]))


if __name__ == "__main__":
    main()
