"""Contamination: runs of words that a document shares with items of evaluation sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pydantic

from infra.documents import EDITS_TYPE, Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.contamination.evaluations import read_items
from tasks.contamination.index import EvaluationIndex, Matches
from tasks.text.words import word_spans

_SPAN = pa.struct([("evaluation", pa.string()), ("item", pa.int64()), ("start", pa.int64()), ("end", pa.int64())])
CONTAMINATION_SCHEMA = pa.schema(
    [
        pa.field("items", pa.int64()),
        pa.field("evaluations", pa.string()),
        pa.field("word_fraction", pa.float64()),
        pa.field("spans", pa.list_(_SPAN)),
        pa.field("unnamed_spans", pa.int64()),
        pa.field("edits", EDITS_TYPE),
    ]
)
# Of a document; all spans count, and all are cut out.
_MOST_NAMED = 1000
_SHOWN = 10


class ContaminationConfig(StageConfig):
    """`n`: words of an n-gram. Brown et al. 2020 (GPT-3, appendix C) take 13, and no fewer than 8 for short items.

    Strings of an item that have fewer than `n` words are looked for as a whole, and those of fewer than `shortest` not
    by themselves. An item without a longer string is looked for as all its strings, one behind another, from
    `shortest_item` words on. With `cut`, the shared runs of words are struck from the text.
    """

    n: int = pydantic.Field(13, ge=2, le=100)
    shortest: int = pydantic.Field(8, ge=1, le=100)
    shortest_item: int = pydantic.Field(5, ge=1, le=100)
    cut: bool = False

    @property
    def edits_text(self) -> bool:
        return self.cut

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> ContaminationConfig:
        if not self.shortest_item <= self.shortest <= self.n:
            raise ValueError(
                f"shortest_item {self.shortest_item}, shortest {self.shortest} and n {self.n} must ascend: "
                "equal values look for n-grams only"
            )
        return self


def load_index(config: ContaminationConfig, files: Mapping[str, Path]) -> EvaluationIndex:
    """The n-grams of the evaluation sets among `files`. Raises ValueError as `read_items`."""
    return EvaluationIndex(read_items(files), config.n, config.shortest, config.shortest_item)


def try_sets(files: Mapping[str, Path]) -> None:
    """Read evaluation sets once. Raises ValueError for those that cannot be read."""
    for _ in read_items(files):
        pass


def describe_matches(columns: dict[str, Any]) -> list[str]:
    """The first matches of a document in words, for `millrace explain`."""
    spans = columns["spans"] or []
    lines = [
        f"{span['evaluation']}, line {span['item']}: bytes {span['start']} to {span['end']}" for span in spans[:_SHOWN]
    ]
    more = len(spans) - len(lines) + (columns["unnamed_spans"] or 0)
    return [*lines, f"and {more} more"] if more else lines


@stage(
    "contamination",
    version=1,
    kind=StageKind.annotate,
    config=ContaminationConfig,
    load=load_index,
    schema=CONTAMINATION_SCHEMA,
    try_model=try_sets,
    describe=describe_matches,
)
def find_contamination(batch: Documents, config: ContaminationConfig, model: EvaluationIndex) -> Annotations:
    """What of the evaluation sets stands in each document; words are those of `tasks.text.words`.

    - ``items`` (int64): the number of items that share a run of words with it;
    - ``evaluations`` (string): the names of their evaluations, in order and separated by commas; null for none;
    - ``word_fraction`` (float64): the share of its words that stand in such runs, to 6 decimals; 0 for a text without
      words;
    - ``spans``: evaluation, line of the item, start and end in bytes of the text, of the first 1,000 runs. An n-gram
      of more than 16 items is a run of the first 16;
    - ``unnamed_spans`` (int64): how many more runs there are;
    - ``edits``: with `cut`, the runs, to be struck.

    The model is a folder of evaluation sets (`tasks.contamination.evaluations`).
    """
    rows = [_row(text, config, model) for text in batch["text"].to_pylist()]
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in CONTAMINATION_SCHEMA]
    return pa.table(columns, schema=CONTAMINATION_SCHEMA)


def _row(text: str, config: ContaminationConfig, model: EvaluationIndex) -> dict[str, Any]:
    hashes, starts, ends = word_spans(text)
    found = model.find(hashes, _MOST_NAMED)
    covered = int((found.struck_behind - found.struck_first).sum())
    spans = _named(found, model, starts, ends)
    names = dict.fromkeys(model.evaluations[item] for item in found.items.tolist())
    return {
        "items": found.items.size,
        "evaluations": ",".join(names) or None,
        "word_fraction": round(covered / len(hashes), 6) if len(hashes) else 0.0,
        "spans": spans,
        "unnamed_spans": found.spans - len(spans),
        "edits": _cuts(found, starts, ends) if config.cut and found.spans else None,
    }


def _named(found: Matches, model: EvaluationIndex, starts: np.ndarray, ends: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "evaluation": model.evaluations[item],
            "item": model.lines[item],
            "start": int(starts[first]),
            "end": int(ends[behind - 1]),
        }
        for item, first, behind in zip(found.item.tolist(), found.first.tolist(), found.behind.tolist(), strict=True)
    ]


def _cuts(found: Matches, starts: np.ndarray, ends: np.ndarray) -> list[dict[str, Any]]:
    runs = zip(found.struck_first.tolist(), found.struck_behind.tolist(), strict=True)
    return [{"start": int(starts[first]), "end": int(ends[behind - 1]), "replacement": ""} for first, behind in runs]
