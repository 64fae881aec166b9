"""Architectures, data order, trainer and checkpoints. Runs by itself under torchrun; stands on `infra.store` only."""
