"""The Prefect server of one machine: started by a command for itself, or by `millrace up` for all."""
