"""One command on several machines: as a Kubernetes job, or through Ray."""
