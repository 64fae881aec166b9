"""Runs one command on several machines: as a Kubernetes Job, or through Ray."""
