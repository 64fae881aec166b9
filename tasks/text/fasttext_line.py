"""Text as a line for fastText: words that are special to it are text, and words stand where it separates them."""

from __future__ import annotations

import re

LABEL = "__label__"
# The separators of Dictionary::readWord (dictionary.cc of fastText 0.9.3). Other white space is part of a word.
_SEPARATORS = r" \n\r\t\v\f\0"
# Words that fastText takes for the end of the line or for a label: Dictionary::EOS and the label prefix.
_SPECIAL_WORD = re.compile(rf"(?<![^{_SEPARATORS}])(?:<(?=/s>(?![^{_SEPARATORS}]))|_(?=_label__))")
_WORD = re.compile(rf"[^{_SEPARATORS}]+")


def plain_words(text: str) -> str:
    """The text with a space behind the first character of each word that is special to fastText."""
    # A plain search is many times as fast as the pattern, which few texts need.
    return _SPECIAL_WORD.sub(r"\g<0> ", text) if "</s>" in text or LABEL in text else text


def one_line(text: str) -> str:
    """The text in one line, as RedPajama gives it to its classifiers: a space in place of each line end.

    After ``data_prep/cc/classifier/classify.py`` of togethercomputer/RedPajama-Data (branch rp_v1). Words that are
    special to fastText are text.
    """
    return plain_words(" ".join(text.strip().splitlines()))


def words_of(line: str) -> list[str]:
    """The words of a line as fastText separates them."""
    return _WORD.findall(line)
