"""The columns of the stage `heuristics`, by where they come from."""

from __future__ import annotations

import pyarrow as pa

# Signal → inclusive (minimum, maximum) of documents that Gopher's authors keep (Rae et al. 2021, A1.1 and table A1).
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
# The same for FineWeb (Penedo et al. 2024, section 3.6). The last limit stands in its code only: datatrove 0.10.1,
# pipeline/filters/fineweb_quality_filter.py, which has the limits of the paper as at most 0.01 for repeated lines.
FINEWEB_RULES: dict[str, tuple[float | None, float | None]] = {
    "terminal_line_fraction": (0.12, None),
    "short_line_fraction": (None, 0.67),
    "repeated_line_character_fraction": (None, 0.01),
    "line_feed_to_word": (None, 0.3),
}
# Signals that RedPajama-v2 adds (togethercomputer/RedPajama-Data, app/src/core/quality_signals); it has no thresholds.
REDPAJAMA_SIGNALS = (
    "sentence_count",
    "unique_word_fraction",
    "word_entropy",
    "uppercase_word_fraction",
    "stop_word_fraction",
    "curly_bracket_to_character",
    "lorem_ipsum_to_character",
    "javascript_count",
    "mean_words_per_line",
    "uppercase_character_fraction",
    "numeric_character_fraction",
)
COUNTS = ("word_count", "stop_word_count", "sentence_count", "javascript_count")
HEURISTICS_SCHEMA = pa.schema(
    [
        pa.field(signal, pa.int64() if signal in COUNTS else pa.float64())
        for signal in (*GOPHER_RULES, *FINEWEB_RULES, *REDPAJAMA_SIGNALS)
    ]
    + [pa.field("failed", pa.string())]
)
SHORT_LINE = 30  # characters; FineWeb

Signals = dict[str, float | None]


def fraction(part: float, whole: float) -> float:
    """0 if there is nothing to be a part of."""
    return part / whole if whole else 0.0
