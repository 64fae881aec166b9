"""`variant: redpajama-v2`: the signals as RedPajama-v2's own code computes them.

Formulas are those of togethercomputer/RedPajama-Data at commit 6d2cee9d, ``app/src/core``: ``document.py`` and
``quality_signals``. Its *normalised* text is without ASCII punctuation, in lower case, with one space for each run of
white space, in Unicode's form NFD. Its *raw* words are runs of letters, digits and "_" and runs of other characters;
its *normalised* words are those between the spaces of the normalised text. A line ends with a line feed, which is part
of it; blank lines count.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tasks.heuristics.columns import Signals, fraction
from tasks.heuristics.entropy import entropy
from tasks.text.ngrams import ALL_COPIES, repeated_character_counts

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES = re.compile(r"\s+")
_RAW_WORD = re.compile(r"\w+|[^\w\s]+")  # NLTK's WordPunctTokenizer
_LATIN_LETTER = re.compile(r"[a-zA-Z]")
_LINE = re.compile(r"[^\n]*\n|[^\n]+$")
_SENTENCE = re.compile(r"\b[^.!?]+[.!?]*")
_ELLIPSES = ("...", "…")
_BULLETS = tuple("•‣▶◀◦■□▪▫–")
_TERMINALS = (".", "!", "?", "”")
_UNDEFINED = (
    "duplicate_line_fraction",
    "duplicate_paragraph_fraction",
    "duplicate_line_character_fraction",
    "duplicate_paragraph_character_fraction",
    "short_line_fraction",
    "repeated_line_character_fraction",
    "line_feed_to_word",
)


def redpajama_signals(text: str, stop_words: Sequence[str] | None) -> Signals:
    """The signals of one text, unrounded. Those that RedPajama-v2 does not have are null.

    Where RedPajama-v2 has a list over lines, the column is the mean of the list; of ``rps_lines_javascript_counts`` the
    sum. R is the number of raw words, N of normalised ones.

    - word_count: N; mean_word_length: over N;
    - hash_to_word + ellipsis_to_word is ``rps_doc_symbol_to_word_ratio``, over R;
    - alphabetic_word_fraction: 1 - ``rps_doc_frac_no_alph_words``: words with a letter of ASCII / R;
    - stop_word_count: different stop words among raw words, as they are written; stop_word_fraction: over R;
    - top_n_gram_character_fraction: ``rps_doc_frac_chars_top_ngram``: characters of the most frequent n-gram of
      normalised words × its occurrences / characters of all; 0 if none occurs twice;
    - duplicate_n_gram_character_fraction: ``rps_doc_frac_chars_dupe_ngrams``: characters of the words that are covered
      by n-grams which occur twice, first occurrences too / characters of all;
    - terminal_line_fraction: lines that end with ".", "!", "?" or "”";
    - sentence_count: matches of ``\\b[^.!?]+[.!?]*``; unique_word_fraction, word_entropy: of normalised words;
    - uppercase_word_fraction: ``rps_doc_frac_all_caps_words``, over R;
    - curly_bracket_to_character: over code points; lorem_ipsum_to_character: over those of the normalised text;
    - mean_words_per_line, numeric_character_fraction: over normalised lines; uppercase_character_fraction: over lines.
    """
    normalised = _normalise(text)
    raw, words = _RAW_WORD.findall(text), normalised.split()
    lines = _LINE.findall(text)
    normalised_lines = [_normalise(line) for line in lines]
    numbers: dict[str, int] = {}
    numbered = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    lengths = np.array([len(word) for word in words], np.int64)
    characters = int(lengths.sum())
    top, duplicate = repeated_character_counts(numbered, lengths, ALL_COPIES)
    counted = Counter(raw)
    known = {word: counted[word] for word in stop_words or () if word in counted}
    signals: Signals = {
        "word_count": len(words),
        "mean_word_length": fraction(characters, len(words)),
        "hash_to_word": fraction(text.count("#"), len(raw)),
        "ellipsis_to_word": fraction(sum(map(text.count, _ELLIPSES)), len(raw)),
        "bullet_line_fraction": fraction(sum(line.lstrip().startswith(_BULLETS) for line in lines), len(lines)),
        "ellipsis_line_fraction": fraction(sum(line.rstrip().endswith(_ELLIPSES) for line in lines), len(lines)),
        "alphabetic_word_fraction": fraction(
            sum(times for word, times in counted.items() if _LATIN_LETTER.search(word)), len(raw)
        ),
        "stop_word_count": None if stop_words is None else len(known),
    }
    for n in (2, 3, 4):
        signals[f"top_{n}_gram_character_fraction"] = fraction(int(top[n]), characters)
    for n in range(5, 11):
        signals[f"duplicate_{n}_gram_character_fraction"] = fraction(int(duplicate[n]), characters)
    return (
        signals
        | dict.fromkeys(_UNDEFINED)
        | {
            "terminal_line_fraction": fraction(sum(line.rstrip().endswith(_TERMINALS) for line in lines), len(lines)),
            "sentence_count": len(_SENTENCE.findall(text)),
            "unique_word_fraction": fraction(len(numbers), len(words)),
            "word_entropy": entropy(numbered),
            "uppercase_word_fraction": fraction(
                sum(times for word, times in counted.items() if word.isupper()), len(raw)
            ),
            "stop_word_fraction": None if stop_words is None else fraction(sum(known.values()), len(raw)),
            "curly_bracket_to_character": fraction(text.count("{") + text.count("}"), len(text)),
            "lorem_ipsum_to_character": fraction(normalised.count("lorem ipsum"), len(normalised)),
            "javascript_count": sum(line.split().count("javascript") for line in normalised_lines),
            "mean_words_per_line": fraction(sum(len(line.split()) for line in normalised_lines), len(lines)),
            "uppercase_character_fraction": fraction(
                sum(sum(map(str.isupper, line)) / len(line) for line in lines), len(lines)
            ),
            "numeric_character_fraction": fraction(
                sum(sum(map(str.isnumeric, line)) / len(line) for line in normalised_lines if line), len(lines)
            ),
        }
    )


def _normalise(text: str) -> str:
    plain = _SPACES.sub(" ", text.translate(_PUNCTUATION).lower().strip())
    return unicodedata.normalize("NFD", plain)
