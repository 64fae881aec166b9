"""Parallelism, applied to the architectures from outside: sharding, process groups, and parallel layers."""
