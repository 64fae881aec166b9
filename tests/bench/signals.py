"""Distributions of signals: every column of the stages that say something of documents, over the crawl; no comparison.

``tests/bench/render.py`` draws docs/images/signals from the record. A new annotating stage gets a line in `MEASURED`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.documents import Documents, documents_table, text_bytes
from infra.outcomes import Kept, read_all
from infra.stage import Stage, StageKind
from tasks.heuristics import FINEWEB_RULES, GOPHER_RULES
from tasks.model_files import model_files
from tasks.report.histogram import HistogramCounter, edges_between
from tasks.sources.web_archive import WebArchiveConfig, read_web_archive
from tasks.stages import find_stage
from tests.bench.inputs import CRAWL, kind_of_crawl, whole_crawl
from tests.bench.measure import Workload
from tests.bench.records import RECORDER
from tests.bench.report import print_head
from tests.tasks.partitioned import run_partitioned

Limits = Mapping[str, tuple[float | None, float | None]]
LABELS = 12  # labels of a column that are shown by name
_BINS = 40
_BATCH = 200


@dataclass(frozen=True)
class Measured:
    """A step: its stage, its config, its model below the shared data, and thresholds of papers for its columns."""

    stage: str
    config: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    limits: Limits = field(default_factory=dict)


# In this order: a stage may read columns of those before it.
MEASURED = (
    Measured("language", limits={"score": (0.5, None)}),
    Measured("second_language"),
    Measured("paragraph_languages"),
    Measured("heuristics", limits=GOPHER_RULES | FINEWEB_RULES),
    Measured("c4", limits={"sentences": (3, None)}),
    Measured("perplexity", model="ccnet/lm"),
    Measured("word_list", model="evaluation/bias/ldnoobw"),
    Measured("personal_data"),
    Measured("contamination", model="evaluation/sets"),
    Measured("urls"),
    Measured("url_duplicates"),
    Measured("c4_lines"),
    Measured("rights"),
)
# Stages whose models or inputs are not among the data.
UNMEASURED = {
    "reference_classifier": "a corpus of pages that Wikipedia cites",
    "blocklists": "lists of hosts by category",
    "opt_outs": "a dated list of opt-outs",
    "robots": "captures of robots.txt",
    "tdmrep": "captures of tdmrep.json",
}


def run() -> None:
    """Measure and record."""
    documents = crawl_documents()
    workload = Workload(
        documents,
        f"pages of the {kind_of_crawl()} crawl",
        documents.num_rows,
        "documents",
        text_bytes(documents["text"]),
        "of text",
    )
    print_head("signals", "every column of what stages say of documents", workload, ["fasttext", "icu4py"])
    found = documents
    described = {}
    for step in MEASURED:
        annotations = annotate(step, found)
        described[step.stage] = {
            name: describe(annotations[name], step.limits.get(name)) for name in annotations.column_names
        }
        print(f"  {step.stage:<20}{len(annotations.column_names)} columns")
        for name in annotations.column_names:
            found = found.append_column(f"{step.stage}.{name}", annotations[name])
    RECORDER.set(documents=documents.num_rows, stages=described)


@functools.cache
def crawl_documents() -> Documents:
    """What the source stage keeps of the whole crawl."""
    tables = []
    for archive in whole_crawl():
        with archive.open("rb") as stream:
            outcomes = read_all(read_web_archive(stream, archive.name, WebArchiveConfig()))
            tables.append(documents_table(one.document for one in outcomes if isinstance(one, Kept)))
    return pa.concat_tables(tables)


def annotate(step: Measured, documents: pa.Table) -> pa.Table:
    """What the stage says of the documents, whose table has the columns of earlier steps, too."""
    stage = find_stage(step.stage, StageKind.annotate, StageKind.partitioned)
    config = stage.config.model_validate(step.config)
    if stage.kind is StageKind.partitioned:
        return run_partitioned(stage, [documents], config)[0]
    models = [] if stage.load is None else [stage.load(config, _files(stage, step.model))]
    read = documents.select(stage.columns_of(config))
    batches = [read.slice(start, _BATCH) for start in range(0, read.num_rows, _BATCH)]
    return pa.concat_tables([stage(batch, config, *models) for batch in batches])


def describe(column: pa.ChunkedArray, limits: tuple[float | None, float | None] | None = None) -> dict[str, Any]:
    """A column's distribution: counts of labels, or counts of numbers in bins of equal width.

    Of lists, as of edits, the lengths are counted. Bins are of equal width in the logarithm if so it says.
    """
    missing = column.null_count
    values = column.drop_null()
    if pa.types.is_list(values.type) or pa.types.is_map(values.type):
        values = pa.chunked_array([[len(value) for value in values.to_pylist()]], pa.int64())
    if pa.types.is_string(values.type) or pa.types.is_boolean(values.type):
        counts = Counter(str(value) for value in values.to_pylist())
        shown = counts.most_common(LABELS)
        others = counts.total() - sum(count for _, count in shown)
        return {"labels": [list(pair) for pair in shown], "others": others, "missing": missing}
    numbers = values.to_numpy().astype(np.float64)
    finite = np.isfinite(numbers)
    missing += int((~finite).sum())
    numbers = numbers[finite]
    edges, logarithmic = _edges(numbers, pa.types.is_integer(values.type))
    counter = HistogramCounter(edges, ("all",), logarithmic)
    counter.add("all", numbers)
    made = counter.result()
    return {
        "edges": [float(f"{made.edges[0]:.6g}"), float(f"{made.edges[-1]:.6g}")],
        "logarithmic": logarithmic,
        "counts": list(made.series[0][1]),
        "zeros": int((numbers == 0).sum()),
        "limits": list(limits or (None, None)),
        "missing": missing,
    }


def _edges(numbers: np.ndarray, whole: bool) -> tuple[np.ndarray, bool]:
    """Bins for these numbers; a bin for each whole number if there are few."""
    least, most = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0)
    if whole and most - least < _BINS:
        return np.arange(least - 0.5, most + 1), False
    edges, logarithmic = edges_between(least, most)
    return edges if logarithmic else np.linspace(least, most if most > least else least + 1, _BINS + 1), logarithmic


def _files(stage: Stage, model: str | None) -> dict[str, Path]:
    name = stage.default_model or "" if model is None else str(CRAWL.parent / model)
    return {file: Path(path) for file, path in model_files(stage, name).local.items()}
