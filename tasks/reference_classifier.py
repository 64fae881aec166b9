"""Scores documents with a classifier of two kinds of pages, such as those that Wikipedia cites and random ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.fasttext_model import FasttextModel, load_supervised
from tasks.model_files import FIT_REPORT
from tasks.text.fasttext_line import LABEL, one_line
from tasks.text_classifier.config import MODEL, POSITIVE

REFERENCE_SCHEMA = pa.schema([pa.field("score", pa.float64())])


class ReferenceClassifierConfig(StageConfig):
    """`label` is the class whose probability is the score: ``wiki`` in RedPajama's published model.

    `decimals` rounds the score.
    """

    label: str = pydantic.Field(POSITIVE, min_length=1)
    decimals: int = pydantic.Field(4, ge=1, le=8)


def load_classifier(config: ReferenceClassifierConfig, files: Mapping[str, Path]) -> FasttextModel:
    """Load the classifier from the only file beside its report.

    Raises ValueError if it is not a supervised fastText model, or has no such label.
    """
    models = {name: path for name, path in files.items() if name != FIT_REPORT}
    model, labels = load_supervised(models, "a classifier", MODEL)
    if config.label not in labels:
        raise ValueError(f"{', '.join(models)} has no label {config.label}: set label to one of {', '.join(labels)}")
    return model


def try_classifier(files: Mapping[str, Path]) -> None:
    """Load a model and use it once. Raises ValueError if it is not a supervised fastText model."""
    model, labels = load_supervised({n: p for n, p in files.items() if n != FIT_REPORT}, "a classifier", MODEL)
    model.predict("what kind of page is this\n", len(labels), 0.0, "strict")


@stage(
    "reference_classifier",
    version=1,
    kind=StageKind.annotate,
    config=ReferenceClassifierConfig,
    libraries=["fasttext"],
    load=load_classifier,
    try_model=try_classifier,
    fitted_by=["text_classifier"],
    schema=REFERENCE_SCHEMA,
)
def score_references(batch: Documents, config: ReferenceClassifierConfig, model: FasttextModel) -> Annotations:
    """The probability that a document is of the class `label`: `score`, from 0 to 1, rounded.

    The text is given to fastText in one line, as at training time. A text of white space only has no score, and so has
    one without a word that the model knows.
    RedPajama kept pages with a score of 0.25 or more.
    """
    wanted = LABEL + config.label
    scores: list[float | None] = []
    for text in batch.column("text").to_pylist():
        line = one_line(text)
        found = {name: p for p, name in model.predict(line + "\n", -1, 0.0, "strict")} if line else {}  # of all labels
        scores.append(min(1.0, round(found[wanted], config.decimals)) if found else None)
    return pa.table([scores], schema=REFERENCE_SCHEMA)
