"""Analysis of runs and checkpoints: comparison, tracing, scoring, text generation."""
