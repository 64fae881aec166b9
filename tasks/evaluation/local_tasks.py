"""Our tasks as lm-evaluation-harness tasks: its requests, metrics and standard errors over local items."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from tasks.evaluation.definitions import LoadedTask, MultipleChoice

HIGHER = {"aggregation": "mean", "higher_is_better": True}
METRICS: dict[str, list[dict[str, Any]]] = {
    "multiple_choice": [{"metric": "acc", **HIGHER}, {"metric": "acc_norm", **HIGHER}],
    "last_word": [
        {"metric": "acc", **HIGHER},
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
    ],
}


class LocalTask(ConfigurableTask):
    """A task over local items. It replaces the harness's download from a hub."""

    def __init__(self, task: LoadedTask) -> None:
        self._items = list(task.items)
        super().__init__(config=_configuration(task))
        self.set_fewshot_seed(seed=0)

    def download(self, *_: Any, **__: Any) -> None:
        """Provide the items where the harness expects a downloaded data set."""
        self.dataset = {"test": Dataset.from_list(self._items)}


def _configuration(task: LoadedTask) -> dict[str, Any]:
    common = {
        "task": task.definition.name,
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "prompt",
        "metric_list": METRICS[task.definition.kind],
    }
    if isinstance(task.definition, MultipleChoice):
        choice = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "answer"}
        return {**common, **choice, "target_delimiter": " "}
    return {**common, "output_type": "loglikelihood", "doc_to_target": "target"}
