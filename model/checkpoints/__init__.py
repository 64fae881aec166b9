"""Checkpoints in the lake: manifest, files, background saving, retention, and required disk space."""
