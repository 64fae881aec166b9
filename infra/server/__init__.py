"""The Prefect server of one machine: started on demand by a command, or for all by `millrace up`."""
