"""Experiment trackers (Weights & Biases, MLflow, Trackio): observers that can neither stop nor delay a run."""
