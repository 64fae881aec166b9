"""Architectures, data order, trainer and checkpoints. Independent of Prefect; depends only on `infra.store`."""
