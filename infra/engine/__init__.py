"""Runs the pieces of stages: in a local pool of processes by default, on a Ray cluster when one is named."""
