"""Evaluation of a run's checkpoints: held-out perplexity, and lm-evaluation-harness tasks from local files."""

import os

# `datasets` and `tqdm` read these when they are first imported. Tasks come from local files, never from a hub, and
# progress bars are useless in a log.
os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1"})
# Otherwise the harness forks a pool for every bootstrap, after torch has started its threads.
os.environ["DISABLE_MULTIPROC"] = "1"
