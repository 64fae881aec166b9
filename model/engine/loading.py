"""Import DeepSpeed without the packages that training does not use."""

from __future__ import annotations

import sys
from types import ModuleType


def load_deepspeed() -> ModuleType:
    """Import DeepSpeed without MLflow, which only its autotuner uses; training never runs the autotuner.

    With MLflow, the import takes 10 s in each rank, 5 s of them for MLflow. Other code can import MLflow before and
    afterwards.
    """
    block = "mlflow" not in sys.modules
    if block:
        sys.modules["mlflow"] = None  # type: ignore[assignment]  # importing it now raises ModuleNotFoundError
    try:
        import deepspeed
    finally:
        if block:
            del sys.modules["mlflow"]
    return deepspeed
