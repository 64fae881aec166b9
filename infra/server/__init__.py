"""The Prefect server of one machine: started by a command for itself, or by `python -m infra.server up` for all."""
