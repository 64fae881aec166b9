"""Architectures, data order, trainer and checkpoints. Runs by itself, without Prefect; stands on `infra.store` only."""
