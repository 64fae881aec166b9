"""Numbers of one document by which web text is filtered: signals, not verdicts.

Gopher's quality and repetition rules, FineWeb's rules and RedPajama-v2's quality signals. Public implementations
disagree on what a word, a line and a copy is, so `variant` says whose signals are computed: `tasks.heuristics.paper`
(the default), `tasks.heuristics.datatrove` or `tasks.heuristics.redpajama` has the formula of each column.

A fraction with an empty denominator is 0. Fractions and means are rounded to `HeuristicsConfig.decimals`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.heuristics.columns import COUNTS, FINEWEB_RULES, GOPHER_RULES, HEURISTICS_SCHEMA, Signals
from tasks.heuristics.datatrove import datatrove_signals
from tasks.heuristics.paper import paper_signals
from tasks.heuristics.redpajama import redpajama_signals
from tasks.text.english import TOO_MANY_SIGNS, TooManySigns

__all__ = [
    "FINEWEB_RULES",
    "GOPHER_RULES",
    "HEURISTICS_SCHEMA",
    "STOP_WORDS",
    "HeuristicsConfig",
    "measure_heuristics",
    "signals_of",
]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Rae et al. 2021, appendix A1.1
_FORMULAS: dict[str, Callable[[str, Sequence[str] | None], Signals]] = {
    "paper": paper_signals,
    "datatrove": datatrove_signals,
    "redpajama-v2": redpajama_signals,
}


def _english() -> dict[str, tuple[str, ...]]:
    return {"en": STOP_WORDS}


class HeuristicsConfig(StageConfig):
    """Whose signals, and against which stop words.

    - `variant`: ``paper``, ``datatrove`` (needs the package spacy) or ``redpajama-v2``;
    - `stop_words`: language → words in lower case. With one language, all documents are held against its words. With
      several, the step `language` says which are meant, and those of other languages have no counts;
    - `decimals`: the number of digits of stored fractions and means.
    """

    variant: Literal["paper", "datatrove", "redpajama-v2"] = "paper"
    stop_words: dict[str, tuple[str, ...]] = pydantic.Field(default_factory=_english, min_length=1)
    decimals: int = pydantic.Field(default=6, ge=2, le=12)

    @pydantic.model_validator(mode="after")
    def _can_be_found(self) -> Self:
        for language, words in self.stop_words.items():
            if wrong := [word for word in words if not word or word != word.lower() or re.search(r"\s", word)]:
                raise ValueError(f"stop_words.{language}: {wrong[0]!r} is not one word in lower case")
            if len(set(words)) < len(words):
                raise ValueError(f"stop_words.{language}: a word stands there twice")
        return self

    def more_libraries(self) -> Sequence[str]:
        return {"paper": ("icu4py",), "datatrove": ("spacy",)}.get(self.variant, ())

    @property
    def by_language(self) -> bool:
        """Whether the language of a document decides which stop words are meant."""
        return len(self.stop_words) > 1


def _columns(config: HeuristicsConfig) -> list[str]:
    return ["text", "language.label"] if config.by_language else ["text"]


@stage(
    "heuristics",
    version=2,
    kind=StageKind.annotate,
    config=HeuristicsConfig,
    columns=_columns,
    schema=HEURISTICS_SCHEMA,
)
def measure_heuristics(batch: Documents, config: HeuristicsConfig) -> Annotations:
    """Compute every signal for each document, one column each. Null: the variant has no such signal.

    ``failed`` is ``too_many_signs`` for a text with which spaCy would take long (`tasks.text.english`).
    """
    texts = batch.column("text").to_pylist()
    languages = batch.column("language.label").to_pylist() if config.by_language else [None] * len(texts)
    rows = [_row(text, config, language) for text, language in zip(texts, languages, strict=True)]
    return pa.Table.from_pylist(rows, schema=HEURISTICS_SCHEMA)


def signals_of(text: str, config: HeuristicsConfig, language: str | None = None) -> Mapping[str, float | None]:
    """The signals of one text by name, unrounded; `language` decides if there are stop words of several.

    Raises TooManySigns with the variant `datatrove`.
    """
    [*known] = config.stop_words
    words = config.stop_words.get(language or "") if config.by_language else config.stop_words[known[0]]
    return _FORMULAS[config.variant](text, words)


def _row(text: str, config: HeuristicsConfig, language: str | None) -> dict[str, float | str | None]:
    try:
        found = signals_of(text, config, language)
    except TooManySigns:
        return {"failed": TOO_MANY_SIGNS}
    return {
        name: value if value is None or name in COUNTS else round(value, config.decimals)
        for name, value in found.items()
    }
