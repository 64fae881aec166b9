"""MLflow.

The tool's own environment variables apply (MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN, MLFLOW_EXPERIMENT_NAME). Without
a tracking URI the run is recorded in files, in the launch's cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus

from model.observers.observer import Ending
from model.trackers.tracker import RunDescription, own_folder

KEY_TAG = "millrace.run"
# MLflow's own limit on a parameter's value.
LONGEST_PARAMETER = 6000


class MlflowTracker:
    """One MLflow run per training run; every launch continues it."""

    def __init__(self, run: RunDescription) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            # MLflow 3 supports the file store only with this setting.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = own_folder(run, "mlflow").absolute().as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "millrace")
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        found = self._client.search_runs([number], f"tags.`{KEY_TAG}` = '{run.key}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(number, run_name=run.name, tags={KEY_TAG: run.key}).info.run_id
            flat = _flat({section: run.config[section] for section in ("model", "training", "seed")})
            params = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in flat.items()]
            self._client.log_batch(self._id, params=params)

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        metrics = [Metric(name, value, int(time * 1000), step) for name, value in scalars.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, ending: Ending) -> None:
        status = {"finished": RunStatus.FINISHED, "stopped": RunStatus.KILLED, "failed": RunStatus.FAILED}[ending]
        self._client.set_terminated(self._id, RunStatus.to_string(status))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
