"""C4's rule about bad words: lines that have one, as ``clean_page`` of TensorFlow Datasets looks for them.

Its list is the English one of LDNOOBW (List of Dirty, Naughty, Obscene, and Otherwise Bad Words); here it is a model: a
text file, one entry a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage

C4_BAD_WORDS_SCHEMA = pa.schema([pa.field("lines", pa.int32())])


class C4BadWordsConfig(StageConfig):
    """The list decides all."""


def load_bad_words(config: C4BadWordsConfig, files: Mapping[str, Path]) -> re.Pattern[str]:
    """The entries of all files as one pattern. Raises ValueError for a file that is no list of words."""
    words: set[str] = set()
    for path in files.values():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not a list of words ({error}): give a text file in UTF-8, one a line"
            ) from error
        words |= {line.strip().lower() for line in lines}
    words.discard("")
    if not words:
        raise ValueError(f"{', '.join(map(str, files.values()))}: there is no word in it: give one a line")
    return re.compile(f"[^a-z](?:{'|'.join(map(re.escape, sorted(words)))})[^a-z]")


def try_bad_words(files: Mapping[str, Path]) -> None:
    """Raises ValueError for a file that is no list of words."""
    load_bad_words(C4BadWordsConfig(), files)


@stage(
    "c4_bad_words",
    version=1,
    kind=StageKind.annotate,
    config=C4BadWordsConfig,
    load=load_bad_words,
    try_model=try_bad_words,
    schema=C4_BAD_WORDS_SCHEMA,
)
def count_bad_words(batch: Documents, config: C4BadWordsConfig, words: re.Pattern[str]) -> Annotations:
    """``lines``: how many lines of the text have an entry of the list, in lower case, between two other characters.

    As there, an entry at the very start or end of a line is not found, and only "a" to "z" are letters.
    """
    counts = [
        sum(words.search(line) is not None for line in text.lower().split("\n"))
        for text in batch.column("text").to_pylist()
    ]
    return pa.table([counts], schema=C4_BAD_WORDS_SCHEMA)
