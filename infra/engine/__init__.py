"""Runs the work units of stages: in a local process pool by default, or on a Ray cluster."""
