"""`variant: paper`: the signals as the papers describe them; what these leave open is decided here.

- a *word* is a maximal run of characters other than white space, compared unchanged; in scripts without spaces it is
  what ICU's word boundaries cut from that run (`tasks.text.segments`);
- a *line* is the stripped text between line feeds; blank lines do not count;
- a *paragraph* is a run of lines between blank lines: its stripped lines, joined by line feeds;
- a *duplicate* line, paragraph or n-gram is a later copy of an earlier one: of three equal ones, two are duplicates;
- *characters* are Unicode code points, without white space around lines and between words;
- an *n-gram* is n consecutive words, across lines; a word that several n-grams cover counts once.

Gopher's paper speaks of "words" and never says that a punctuation mark is one; by common use it belongs to the word at
which it stands. So "80 % of words contain at least one alphabetic character" is about what stands between spaces.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from infra.compiled import njit
from tasks.heuristics.columns import SHORT_LINE, Signals, fraction
from tasks.heuristics.entropy import entropy
from tasks.text.characters import (
    BULLET,
    LETTER,
    LOWER,
    NUMERIC,
    SPACE,
    TERMINAL,
    UPPER,
    WORD,
    code_points,
    flags_of,
)
from tasks.text.ngrams import LATER_COPIES, repeated_character_counts
from tasks.text.segments import segment
from tasks.text.slices import Flags, Places, Points, later_copies, number_slices, stripped_lines

_ELLIPSES = ("...", "…")
_JAVASCRIPT = "javascript"


def paper_signals(text: str, stop_words: Sequence[str] | None) -> Signals:
    """The signals of one text, unrounded. With `stop_words` None, nothing is known of stop words: null.

    W is the number of words, and L of lines. Gopher's (Rae et al. 2021, appendix A1.1 and table A1):

    - word_count: W; mean_word_length: characters of all words / W;
    - hash_to_word: occurrences of "#" / W;
    - ellipsis_to_word: occurrences of "…" and non-overlapping occurrences of "...", from the left / W;
    - bullet_line_fraction: lines that start with one of `tasks.text.characters.BULLETS` / L;
    - ellipsis_line_fraction: lines that end with "…" or "..." / L;
    - alphabetic_word_fraction: words with at least one letter (``str.isalpha``) / W;
    - stop_word_count: how many different stop words are among the runs of letters, marks, digits and "_" within words,
      in lower case;
    - duplicate_line_fraction: duplicate lines / L; with character: their characters / those of all lines;
    - duplicate_paragraph_fraction and its characters: the same for paragraphs, including the line feeds inside;
    - top_n_gram_character_fraction: characters of the words that the most frequent n-gram covers / characters of all
      words; 0 if no n-gram occurs twice; ties: the longest in characters, then the first;
    - duplicate_n_gram_character_fraction: characters of the words that duplicate n-grams cover / those of all words.

    FineWeb's (Penedo et al. 2024, section 3.6):

    - terminal_line_fraction: lines that end with a character that ends a sentence (`TERMINALS` there) / L;
    - short_line_fraction: lines of at most 30 characters / L;
    - repeated_line_character_fraction: duplicate_line_character_fraction under FineWeb's name;
    - line_feed_to_word: line feeds in the text / W.

    RedPajama-v2's (its data card), over our words and lines:

    - sentence_count: stretches between characters that end a sentence, with a letter or digit in them;
    - unique_word_fraction: different words / W; word_entropy: -Σ p ln p over the shares p of words, in nats;
    - uppercase_word_fraction: words whose letters are all upper case (``str.isupper``) / W;
    - stop_word_fraction: runs that are stop words / runs;
    - curly_bracket_to_character: "{" and "}" / code points of the text;
    - lorem_ipsum_to_character: occurrences of "lorem ipsum" in lower case / code points of the text;
    - javascript_count: runs that are "javascript" in lower case;
    - mean_words_per_line: W / L;
    - uppercase_character_fraction and numeric_character_fraction: the mean over lines of the share of characters that
      are upper case, or numeric (``str.isnumeric``).
    """
    found = segment(text)
    numbers, distinct = number_slices(found.points, found.starts, found.ends)
    lengths = found.ends - found.starts
    words, characters = len(numbers), int(lengths.sum())
    lettered, upper = _words_with(found.flags, found.starts, found.ends)
    lowered = text.lower()
    marks = sum(text.count(ellipsis) for ellipsis in _ELLIPSES)
    kept, starts, ends, paragraph_starts, paragraph_ends = stripped_lines(found.points, found.flags, SPACE)
    line_numbers, different = number_slices(kept, starts, ends)
    copies, copied = later_copies(line_numbers, different, starts, ends)
    paragraph_copies, paragraph_copied = later_copies(
        *number_slices(kept, paragraph_starts, paragraph_ends), paragraph_starts, paragraph_ends
    )
    lines, line_characters = len(starts), int((ends - starts).sum())
    shape = _shape_of_lines(kept, flags_of(kept), starts, ends)
    repeated = fraction(copied, line_characters)
    counts, runs = words_among_runs(lowered, (*(word for word in stop_words or () if word != _JAVASCRIPT), _JAVASCRIPT))
    known = counts[:-1]
    signals: Signals = {
        "word_count": words,
        "mean_word_length": fraction(characters, words),
        "hash_to_word": fraction(text.count("#"), words),
        "ellipsis_to_word": fraction(marks, words),
        "bullet_line_fraction": fraction(shape[0], lines),
        "ellipsis_line_fraction": fraction(shape[1], lines),
        "alphabetic_word_fraction": fraction(lettered, words),
        "stop_word_count": None if stop_words is None else int(np.count_nonzero(known)),
        "duplicate_line_fraction": fraction(copies, lines),
        "duplicate_paragraph_fraction": fraction(paragraph_copies, len(paragraph_starts)),
        "duplicate_line_character_fraction": repeated,
        "duplicate_paragraph_character_fraction": fraction(
            paragraph_copied, int((paragraph_ends - paragraph_starts).sum())
        ),
    }
    top, duplicate = repeated_character_counts(numbers, lengths, LATER_COPIES)
    for n in (2, 3, 4):
        signals[f"top_{n}_gram_character_fraction"] = fraction(int(top[n]), characters)
    for n in range(5, 11):
        signals[f"duplicate_{n}_gram_character_fraction"] = fraction(int(duplicate[n]), characters)
    return signals | {
        "terminal_line_fraction": fraction(shape[2], lines),
        "short_line_fraction": fraction(shape[3], lines),
        "repeated_line_character_fraction": repeated,
        "line_feed_to_word": fraction(text.count("\n"), words),
        "sentence_count": _sentences(found.flags),
        "unique_word_fraction": fraction(distinct, words),
        "word_entropy": entropy(numbers),
        "uppercase_word_fraction": fraction(upper, words),
        "stop_word_fraction": None if stop_words is None else fraction(int(known.sum()), runs),
        "curly_bracket_to_character": fraction(text.count("{") + text.count("}"), len(text)),
        "lorem_ipsum_to_character": fraction(lowered.count("lorem ipsum"), len(text)),
        "javascript_count": int(counts[-1]),
        "mean_words_per_line": fraction(words, lines),
        "uppercase_character_fraction": fraction(shape[4], lines),
        "numeric_character_fraction": fraction(shape[5], lines),
    }


def words_among_runs(lowered: str, wanted: Sequence[str]) -> tuple[Places, int]:
    """How often each wanted word stands among the runs of a text in lower case, and how many runs there are."""
    found = segment(lowered)
    starts, ends = found.runs()
    # The wanted words come first, so that they have the first numbers.
    points, offsets = _joined(tuple(wanted))
    behind = len(points)
    numbers, distinct = number_slices(
        np.concatenate([points, found.points]),
        np.concatenate([offsets[:-1], starts + behind]),
        np.concatenate([offsets[1:], ends + behind]),
    )
    counts = np.bincount(numbers[len(wanted) :], minlength=distinct)
    return counts[: len(wanted)], len(starts)


@functools.cache
def _joined(words: tuple[str, ...]) -> tuple[Points, Places]:
    offsets = np.cumsum([0, *map(len, words)], dtype=np.int64)
    return code_points("".join(words)), offsets


@njit(cache=True, nogil=True)
def _words_with(flags: Flags, starts: Places, ends: Places) -> tuple[int, int]:
    """Words with a letter, and words whose letters are all upper case."""
    lettered = 0
    upper = 0
    for word in range(len(starts)):
        every = np.uint16(0)
        for place in range(starts[word], ends[word]):
            every |= flags[place]
        if every & LETTER != 0:
            lettered += 1
        if every & UPPER != 0 and every & LOWER == 0:
            upper += 1
    return lettered, upper


@njit(cache=True, nogil=True)
def _shape_of_lines(points: Points, flags: Flags, starts: Places, ends: Places) -> np.ndarray:
    """Lines that start with a bullet, end in dots, end a sentence, are short; then sums of shares over lines."""
    found = np.zeros(6, np.float64)
    for line in range(len(starts)):
        first = starts[line]
        last = ends[line] - 1
        if flags[first] & BULLET != 0:
            found[0] += 1
        dots = last - first >= 2 and points[last] == 46 and points[last - 1] == 46 and points[last - 2] == 46
        if points[last] == 0x2026 or dots:
            found[1] += 1
        if flags[last] & TERMINAL != 0:
            found[2] += 1
        length = ends[line] - first
        if length <= SHORT_LINE:
            found[3] += 1
        upper = 0
        numeric = 0
        for place in range(first, ends[line]):
            upper += flags[place] & UPPER != 0
            numeric += flags[place] & NUMERIC != 0
        found[4] += upper / length
        found[5] += numeric / length
    return found


@njit(cache=True, nogil=True)
def _sentences(flags: Flags) -> int:
    sentences = 0
    lettered = False
    for place in range(len(flags)):
        if flags[place] & WORD != 0:
            lettered = True
        elif flags[place] & TERMINAL != 0:
            sentences += lettered
            lettered = False
    return sentences + lettered
