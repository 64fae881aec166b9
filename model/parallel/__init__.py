"""Parallelism, applied to the architectures from outside: who holds what, and the layers that make up for it."""
