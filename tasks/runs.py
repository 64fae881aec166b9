"""Finding training runs in a lake."""

from __future__ import annotations

from pathlib import Path

from infra.store.errors import StoreError
from infra.store.lake import Lake


def run_keys(lake: Lake) -> list[str]:
    """The keys of all runs."""
    paths = (entry.path for entry in lake.list("runs"))
    return sorted({path.split("/")[1] for path in paths if path.endswith("/run.json")})


def find_run(lake: Lake, key: str) -> str:
    """The run whose key starts with `key`. Raises StoreError when there is none, or several."""
    found = [known for known in run_keys(lake) if known.startswith(key)]
    if not found and Path(key).is_dir():
        raise StoreError(
            f"{key} is a folder, not a run: a folder of weights, as `millrace import` writes it, has no optimizer "
            "state and no corpus. Use it with `millrace generate` and `millrace export`. This command needs a run of "
            "the lake; `millrace runs` lists them"
        )
    if len(found) != 1:
        raise StoreError(f"{len(found)} runs of {lake.uri} have keys that start with {key}; `millrace runs` lists them")
    return found[0]
