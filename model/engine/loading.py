"""Import DeepSpeed without the packages that training does not use."""

from __future__ import annotations

import sys
from types import ModuleType


def load_deepspeed() -> ModuleType:
    """Import DeepSpeed. Its autotuner, which training never runs, gets no MLflow.

    Where MLflow is installed, DeepSpeed imports it for the autotuner: 5 of the 10 seconds that the import takes in
    each rank. Other code can import MLflow before and afterwards.
    """
    block = "mlflow" not in sys.modules
    if block:
        sys.modules["mlflow"] = None  # type: ignore[assignment]  # an import of it raises ModuleNotFoundError
    try:
        import deepspeed
    finally:
        if block:
            del sys.modules["mlflow"]
    return deepspeed
