"""`variant: datatrove`: the signals as the filters of datatrove 0.10.1 compute them.

Formulas are those of ``gopher_quality_filter.py``, ``gopher_repetition_filter.py`` and ``fineweb_quality_filter.py`` in
its ``pipeline/filters``. Its words are the tokens of spaCy's blank English, so punctuation marks are words of their
own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tasks.heuristics.columns import REDPAJAMA_SIGNALS, SHORT_LINE, Signals, fraction
from tasks.text.characters import TERMINAL_CHARACTERS, characters, code_points
from tasks.text.english import english_words
from tasks.text.ngrams import MOST_FREQUENT, consumed_character_counts, repeated_character_counts

# PUNCTUATION in utils/text.py: with the control characters but for tab and line feed.
PUNCTUATION = TERMINAL_CHARACTERS | characters(
    "0-8 B-1F 21-2F 3A-40 5B-60 7B-9F AB B4 BB 2013-2014 2019 201C-201E 2026 2236 2501 25BA 3001-3002 3008-300D "
    "3010-3011 FF01 FF05 FF08-FF09 FF0C FF0E FF11 FF1A-FF1B FF1F FF5E"
)
_ELLIPSES = ("...", "…")
_PARAGRAPH_BREAK = re.compile(r"\n{2,}")
_LINE_BREAK = re.compile(r"\n+")


def datatrove_signals(text: str, stop_words: Sequence[str] | None) -> Signals:
    """The signals of one text, unrounded. Those that datatrove does not have are null. Raises TooManySigns.

    Tokens T are all words of spaCy; words W are those with a character that is not in `PUNCTUATION`.

    - word_count: W; mean_word_length: over W; hash_to_word, ellipsis_to_word, alphabetic_word_fraction: over T;
    - bullet_line_fraction ("•" or "-"), ellipsis_line_fraction: over ``str.splitlines``, with blank lines;
    - stop_word_count: different stop words among T, as they are written;
    - duplicate lines are those between line feeds, and paragraphs those between two or more, with white space around
      them; their characters, and those of all n-grams, are divided by the code points of the text;
    - top_n_gram_character_fraction: length of the most frequent n-gram, with its spaces, × its occurrences, also if it
      occurs once;
    - duplicate_n_gram_character_fraction: see `consumed_character_counts`;
    - FineWeb's are over lines that are not blank, with the white space around them; repeated_line_character_fraction
      is over the code points of the text without line feeds, and line_feed_to_word over T.
    """
    tokens = english_words(text)
    words = [token for token in tokens if not PUNCTUATION.issuperset(token)]
    lines = text.splitlines()
    signals: Signals = {
        "word_count": len(words),
        "mean_word_length": fraction(sum(map(len, words)), len(words)),
        "hash_to_word": fraction(text.count("#"), len(tokens)),
        "ellipsis_to_word": fraction(sum(map(text.count, _ELLIPSES)), len(tokens)),
        "bullet_line_fraction": _share(lines, lambda line: line.lstrip().startswith(("•", "-"))),
        "ellipsis_line_fraction": _share(lines, lambda line: line.rstrip().endswith(_ELLIPSES)),
        "alphabetic_word_fraction": _share(tokens, lambda token: any(map(str.isalpha, token))),
        "stop_word_count": None if stop_words is None else len(set(stop_words).intersection(tokens)),
    }
    line_copies, line_characters, line_count = _copies(_LINE_BREAK.split(text))
    copies, copied, paragraphs = _copies(_PARAGRAPH_BREAK.split(text.strip()))
    signals |= {
        "duplicate_line_fraction": fraction(line_copies, line_count),
        "duplicate_paragraph_fraction": fraction(copies, paragraphs),
        "duplicate_line_character_fraction": fraction(line_characters, len(text)),
        "duplicate_paragraph_character_fraction": fraction(copied, len(text)),
    }
    numbers: dict[str, int] = {}
    numbered = np.array([numbers.setdefault(token, len(numbers)) for token in tokens], np.int64)
    offsets = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
    top, _ = repeated_character_counts(numbered, np.diff(offsets), MOST_FREQUENT)
    consumed = consumed_character_counts(code_points("".join(tokens)), offsets)
    for n in (2, 3, 4):
        signals[f"top_{n}_gram_character_fraction"] = fraction(int(top[n]), len(text))
    for n in range(5, 11):
        signals[f"duplicate_{n}_gram_character_fraction"] = fraction(int(consumed[n]), len(text))
    filled = [line for line in text.split("\n") if line.strip()]
    signals |= {
        "terminal_line_fraction": _share(filled, lambda line: line[-1] in TERMINAL_CHARACTERS),
        "short_line_fraction": _share(filled, lambda line: len(line) <= SHORT_LINE),
        "repeated_line_character_fraction": fraction(_copies(filled)[1], len(text) - text.count("\n")),
        "line_feed_to_word": fraction(text.count("\n"), len(tokens)),
    }
    return signals | dict.fromkeys(REDPAJAMA_SIGNALS)


def _share(items: Sequence[str], holds: Callable[[str], bool]) -> float:
    return fraction(sum(map(holds, items)), len(items))


def _copies(pieces: Iterable[str]) -> tuple[int, int, int]:
    """Later copies of earlier pieces, their characters, and the number of pieces."""
    seen: set[str] = set()
    copies = characters = count = 0
    for piece in pieces:
        count += 1
        if piece in seen:
            copies += 1
            characters += len(piece)
        seen.add(piece)
    return copies, characters, count
