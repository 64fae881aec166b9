"""The local Prefect server: started on demand by a command, or by `python -m infra.server up`."""
