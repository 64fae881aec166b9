"""Evaluation: held-out perplexity and lm-evaluation-harness tasks from local files, on the checkpoints of a run."""

import os

# Read when `datasets` and `tqdm` are first imported. Tasks come from local files and never from a hub, and what the
# harness draws on the terminal is of no use in a log.
os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1"})
# The harness forks a pool for every bootstrap otherwise, after torch has started its threads.
os.environ["DISABLE_MULTIPROC"] = "1"
