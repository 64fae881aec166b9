"""The training loop of one rank: resume, steps, checkpoints."""
