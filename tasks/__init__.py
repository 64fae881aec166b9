"""One room for each stage: its config, its kernel, its declaration. Nothing else."""
