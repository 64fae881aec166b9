"""Words and sentences of English as datatrove 0.10.1 finds them: by spaCy's blank English and its sentencizer.

spaCy is an extra (``pip install spacy``) and is imported when the first text comes. It takes signs off a word one by
one, in time that grows with their square, so a text in which that would take long is refused.
"""

from __future__ import annotations

import functools
from typing import Any

from infra.compiled import njit
from tasks.text.characters import LETTER, NUMERIC, SPACE, code_points, flags_of
from tasks.text.slices import Flags

# Signs are other than letters and digits. 4,000 at one word have this square, and take seven seconds if they are "'s".
MOST_WORK = 16_000_000
TOO_MANY_SIGNS = "too_many_signs"


class TooManySigns(ValueError):
    """The squares of the numbers of signs in each run without white space add up to more than `MOST_WORK`."""


def english_words(text: str) -> list[str]:
    """The tokens of a text, without those of white space alone. Raises TooManySigns."""
    _require_few_signs(text)
    english = _english()
    with english.memory_zone():
        stripped = (token.text.strip() for token in english.tokenizer(text))
        return [token for token in stripped if token]


def count_english_sentences(text: str) -> int:
    """How many sentences the sentencizer finds. Raises TooManySigns."""
    _require_few_signs(text)
    english = _english()
    with english.memory_zone():
        return sum(1 for _ in english.get_pipe("sentencizer")(english.tokenizer(text)).sents)


def _require_few_signs(text: str) -> None:
    if len(text) ** 2 > MOST_WORK and _work(flags_of(code_points(text))) > MOST_WORK:
        raise TooManySigns


@njit(cache=True, nogil=True)
def _work(flags: Flags) -> float:
    """The sum of the squares of the numbers of signs in each run without white space."""
    work = 0.0
    signs = 0.0
    for flag in flags:
        if flag & SPACE != 0:
            work += signs * signs
            signs = 0.0
        elif flag & (LETTER | NUMERIC) == 0:
            signs += 1
    return work + signs * signs


@functools.cache
def _english() -> Any:
    import spacy

    english = spacy.blank("en")
    english.add_pipe("sentencizer")
    return english
