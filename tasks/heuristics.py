"""The Gopher quality and repetition rules (Rae et al. 2021, appendix A1.1, table A1) as signals, not verdicts.

Terms used by all formulas below:

- a *word* is a maximal run of characters other than white space (``str.split``), compared unchanged;
- a *line* is the stripped text between line feeds; blank lines do not count;
- a *paragraph* is a run of lines between blank lines: its stripped lines, joined by line feeds;
- a *duplicate* line, paragraph or n-gram is a later copy of an earlier one: of three equal ones, two are duplicates;
- *characters* are Unicode code points, without white space around lines and between words;
- an *n-gram* is n consecutive words, across lines; a word that several n-grams cover counts once.

A fraction with an empty denominator is 0. Fractions and means are rounded to `HeuristicsConfig.decimals`.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.text.ngrams import repeated_character_counts

# Signal → inclusive (minimum, maximum) of documents that Gopher's authors keep.
GOPHER_RULES: dict[str, tuple[float | None, float | None]] = {
    "word_count": (50, 100_000),
    "mean_word_length": (3, 10),
    "hash_to_word": (None, 0.1),
    "ellipsis_to_word": (None, 0.1),
    "bullet_line_fraction": (None, 0.9),
    "ellipsis_line_fraction": (None, 0.3),
    "alphabetic_word_fraction": (0.8, None),
    "stop_word_count": (2, None),
    "duplicate_line_fraction": (None, 0.30),
    "duplicate_paragraph_fraction": (None, 0.30),
    "duplicate_line_character_fraction": (None, 0.20),
    "duplicate_paragraph_character_fraction": (None, 0.20),
    "top_2_gram_character_fraction": (None, 0.20),
    "top_3_gram_character_fraction": (None, 0.18),
    "top_4_gram_character_fraction": (None, 0.16),
    "duplicate_5_gram_character_fraction": (None, 0.15),
    "duplicate_6_gram_character_fraction": (None, 0.14),
    "duplicate_7_gram_character_fraction": (None, 0.13),
    "duplicate_8_gram_character_fraction": (None, 0.12),
    "duplicate_9_gram_character_fraction": (None, 0.11),
    "duplicate_10_gram_character_fraction": (None, 0.10),
}
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
# The paper does not define "bullet point". These are the characters that Unicode names BULLET, the shapes of common
# list styles, and the hyphen, en dash and asterisk of plain text. An em dash opens dialogue in many languages.
BULLETS = "•‣⁃⁌⁍∙◘◦⦾⦿·▪▫■□●○◆◇▶►▸➢➤✓✔-–*"
_ELLIPSES = ("...", "…")
_COUNTS = ("word_count", "stop_word_count")

HEURISTICS_SCHEMA = pa.schema(
    [pa.field(signal, pa.int64() if signal in _COUNTS else pa.float64()) for signal in GOPHER_RULES]
)
_STOP_WORD_PATTERNS = [re.compile(rf"\b{word}\b") for word in STOP_WORDS]


class HeuristicsConfig(StageConfig):
    """`decimals`: the number of digits of stored fractions and means."""

    decimals: int = pydantic.Field(default=6, ge=2, le=12)


@stage(
    "heuristics",
    version=1,
    kind=StageKind.annotate,
    config=HeuristicsConfig,
    schema=HEURISTICS_SCHEMA,
)
def measure_heuristics(batch: Documents, config: HeuristicsConfig) -> Annotations:
    """Compute every signal of `GOPHER_RULES` for each document, one column each."""
    rows = [gopher_signals(text) for text in batch.column("text").to_pylist()]
    columns = [
        [row[signal] for row in rows] if signal in _COUNTS else [round(row[signal], config.decimals) for row in rows]
        for signal in GOPHER_RULES
    ]
    return pa.table(columns, schema=HEURISTICS_SCHEMA)


def gopher_signals(text: str) -> dict[str, float]:
    """Compute the signals of one text, unrounded, in the order of `GOPHER_RULES`.

    - word_count: W, the number of words;
    - mean_word_length: characters of all words / W;
    - hash_to_word: occurrences of "#" / W;
    - ellipsis_to_word: occurrences of "…" and non-overlapping occurrences of "...", from the left / W;
    - bullet_line_fraction: lines that start with one of `BULLETS` / lines;
    - ellipsis_line_fraction: lines that end with "…" or "..." / lines;
    - alphabetic_word_fraction: words with at least one letter (``str.isalpha``) / W;
    - stop_word_count: the number of different `STOP_WORDS` in the lower-cased text, at word boundaries;
    - duplicate_line_fraction: duplicate lines / lines; with character: their characters / those of all lines;
    - duplicate_paragraph_fraction and its characters: the same for paragraphs, including the line feeds inside;
    - top_n_gram_character_fraction: characters of the words that the most frequent n-gram covers / characters of all
      words; 0 if no n-gram occurs twice; ties: the longest in characters, then the first;
    - duplicate_n_gram_character_fraction: characters of the words that duplicate n-grams cover / those of all words.
    """
    words = text.split()
    stripped = [line.strip() for line in text.split("\n")]
    lines = [line for line in stripped if line]
    paragraphs = [block for run in "\n".join(stripped).split("\n\n") if (block := run.strip("\n"))]
    numbers: dict[str, int] = {}
    numbered = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    lengths = np.array([len(word) for word in numbers], np.int64)[numbered]
    lettered = np.array([_has_letter(word) for word in numbers], bool)[numbered]
    characters = int(lengths.sum())
    lowered = text.lower()
    signals: dict[str, float] = {
        "word_count": len(words),
        "mean_word_length": _fraction(characters, len(words)),
        "hash_to_word": _fraction(text.count("#"), len(words)),
        "ellipsis_to_word": _fraction(sum(text.count(ellipsis) for ellipsis in _ELLIPSES), len(words)),
        "bullet_line_fraction": _fraction(sum(line[0] in BULLETS for line in lines), len(lines)),
        "ellipsis_line_fraction": _fraction(sum(line.endswith(_ELLIPSES) for line in lines), len(lines)),
        "alphabetic_word_fraction": _fraction(int(lettered.sum()), len(words)),
        "stop_word_count": sum(pattern.search(lowered) is not None for pattern in _STOP_WORD_PATTERNS),
    }
    line_fraction, line_characters = _duplicate_fractions(lines)
    paragraph_fraction, paragraph_characters = _duplicate_fractions(paragraphs)
    signals["duplicate_line_fraction"] = line_fraction
    signals["duplicate_paragraph_fraction"] = paragraph_fraction
    signals["duplicate_line_character_fraction"] = line_characters
    signals["duplicate_paragraph_character_fraction"] = paragraph_characters
    top, duplicate = repeated_character_counts(numbered, lengths)
    for n in (2, 3, 4):
        signals[f"top_{n}_gram_character_fraction"] = _fraction(int(top[n]), characters)
    for n in range(5, 11):
        signals[f"duplicate_{n}_gram_character_fraction"] = _fraction(int(duplicate[n]), characters)
    return signals


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _has_letter(word: str) -> bool:
    return word[0].isalpha() or any(map(str.isalpha, word))


def _duplicate_fractions(pieces: list[str]) -> tuple[float, float]:
    seen: set[str] = set()
    duplicates = duplicate_characters = 0
    for piece in pieces:
        if piece in seen:
            duplicates += 1
            duplicate_characters += len(piece)
        else:
            seen.add(piece)
    return _fraction(duplicates, len(pieces)), _fraction(duplicate_characters, sum(map(len, pieces)))
