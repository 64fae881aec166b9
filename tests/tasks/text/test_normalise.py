import re
import sys
import unicodedata
from typing import Literal

import hypothesis
import pytest
from hypothesis import strategies

from tasks.text.normalise import CONTROLS, PUNCTUATION, decompose, normalise_for_scoring


def one_document_for_scoring(text: str) -> str:
    """cc_net's normalize from its description: one character at a time."""
    text = "".join(c for c in unicodedata.normalize("NFD", text.strip().lower()) if unicodedata.category(c) != "Mn")
    text = "".join("0" if unicodedata.category(character) == "Nd" else character for character in text)
    text = "".join(PUNCTUATION.get(character, character) for character in text)
    return "".join(character for character in text if character not in CONTROLS)


TEXTS = strategies.text(
    strategies.one_of(
        strategies.sampled_from("\n\n\n \t\r\x1c\x85\xa0#.aBÉéΣσςİ1２٣—…、" + "".join(PUNCTUATION)),
        strategies.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


def test_scoring_glues_lines() -> None:
    assert normalise_for_scoring("First line 2019.\nSecond") == "first line 0000.second"


def test_scoring_replaces_punctuation_and_strips_accents() -> None:
    assert normalise_for_scoring("  Été — “déjà” １２％ ") == 'ete  -  "deja" 00%'
    assert normalise_for_scoring("「東京」、。") == '"東京",.'


def test_white_space_is_no_text() -> None:
    assert normalise_for_scoring(" \n\t") == ""


def test_the_punctuation_table_has_34_entries_and_no_ascii() -> None:
    assert len(PUNCTUATION) == 34
    assert not any(character.isascii() for character in PUNCTUATION)
    assert all(replacement.isascii() for replacement in PUNCTUATION.values())


def test_every_decimal_digit_becomes_zero() -> None:
    digits = [chr(code) for code in range(sys.maxunicode + 1) if re.fullmatch(r"\d", chr(code))]
    assert len(digits) > 600
    assert set(normalise_for_scoring("".join(digits))) == {"0"}


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(TEXTS)
def test_scoring_equals_the_slow_rendition(text: str) -> None:
    assert normalise_for_scoring(text) == one_document_for_scoring(text)


MARKS = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.combining(chr(code))]
COMPOSED = "e\u00e9\u0344\u0f73\u1e69\ud55c\u034f\u0902"


@hypothesis.settings(deadline=None)
@hypothesis.given(strategies.lists(strategies.sampled_from([*MARKS, *COMPOSED]), max_size=200).map("".join))
def test_long_runs_of_marks_are_decomposed_as_by_unicodedata(text: str) -> None:
    for spelled in (text, "a" + MARKS[0] * 40 + text):
        assert decompose(spelled) == unicodedata.normalize("NFD", spelled)


@pytest.mark.parametrize("pair", ["\u0301\u0323", "\u302e\U00016ff0", "\u0f73\u0f71"])
def test_marks_without_number_are_not_given_to_unicodedata_at_once(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sorts a run of marks by insertion, so what counts is the longest text that holds one."""
    text = "mill " * 9 + "e" + pair[0] * 9_000 + pair[1] * 9_000
    expected = unicodedata.normalize("NFD", text)
    longest = 0
    normalize = unicodedata.normalize

    def counting(form: Literal["NFD"], given: str) -> str:
        nonlocal longest
        longest = max(longest, len(given))
        return normalize(form, given)

    monkeypatch.setattr(unicodedata, "normalize", counting)
    assert decompose(text) == expected
    assert longest < 100
