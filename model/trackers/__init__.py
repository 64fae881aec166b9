"""Experiment trackers (Weights & Biases, MLflow, Trackio): observers that cannot stop or delay a run."""
