"""What is asked of runs and checkpoints: comparisons, traces, scores, generated text."""
