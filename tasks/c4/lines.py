"""The lines of a page that C4 keeps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.c4.sentences import count_sentences
from tasks.text.english import count_english_sentences

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_POLICIES = re.compile("terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies")
_ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Rules:
    """Where public implementations differ."""

    end_marks: tuple[str, ...]
    words_with_citations: bool
    min_words_per_line: int
    min_sentences: int
    sentences: Callable[[str], int]


VARIANTS: Mapping[str, Rules] = {
    "tfds": Rules((".", "?", "!", '"'), False, 5, 3, count_sentences),
    "datatrove": Rules((".", "?", "!", '"', "'"), True, 3, 5, count_english_sentences),
}

# A stretch of the text, by offsets in characters, and those of citations in it.
Span = tuple[int, int]


@dataclass(slots=True)
class Page:
    """What was found of a page: spans that stay, line by line, and counts."""

    lines: int = 0
    kept: list[list[Span]] = field(default_factory=list)
    sentences: int = 0
    lorem_ipsum: int = 0
    curly_brackets: int = 0
    reason: str | None = None

    def edits(self, text: str) -> list[dict[str, Any]]:
        """What makes of the text its kept lines, stripped, with line feeds between; offsets in bytes of UTF-8."""
        pieces = [(begin, end, number) for number, line in enumerate(self.kept) for begin, end in line]
        while pieces and not text[slice(*pieces[0][:2])].strip():
            del pieces[0]  # white space between citations at the very start
        if pieces:
            begin, end, number = pieces[0]
            pieces[0] = (end - len(text[begin:end].lstrip()), end, number)
        edits: list[tuple[int, int, str]] = []
        done, before = 0, pieces[0][2] if pieces else 0
        for begin, end, number in pieces:
            new = "\n" if number != before else ""
            if text[done:begin] != new:
                edits.append((done, begin, new))
            done, before = end, number
        if done < len(text):
            edits.append((done, len(text), ""))
        return _in_bytes(text, edits)


def clean_lines(text: str, rules: Rules, min_words: int, max_word_length: int) -> Page:
    """Judge the lines of a page.

    A line stays if no word is longer than `max_word_length`, it ends with one of `Rules.end_marks` and not with "...",
    it has `min_words` words, and it names neither JavaScript nor a policy about terms of use or cookies. Citations such
    as "[3]" are out before its end and its words are looked at. Raises TooManySigns where spaCy counts sentences.
    """
    page = Page()
    offset = 0
    for whole in text.splitlines(keepends=True):
        page.lines += 1
        line = whole.strip()
        begin = offset + len(whole) - len(whole.lstrip())
        offset += len(whole)
        cited = [found.span() for found in _CITATION.finditer(line)] if "[" in line else []
        plain = _CITATION.sub("", line) if cited else line
        if not plain.endswith(rules.end_marks) or plain.endswith(_ELLIPSIS):
            continue
        words = line.split()
        if len(line) > max_word_length and any(len(word) > max_word_length for word in words):
            continue
        if len(words if plain is line or rules.words_with_citations else plain.split()) < min_words:
            continue
        lowered = plain.lower()
        if "lorem ipsum" in lowered:
            page.lorem_ipsum += 1
            page.reason = page.reason or "lorem_ipsum"
        elif "javascript" in lowered:
            continue
        if "{" in plain:
            page.curly_brackets += 1
            page.reason = page.reason or "curly_bracket"
        if _POLICIES.search(lowered):
            continue
        page.sentences += rules.sentences(plain)
        ends = [0, *(place for span in cited for place in span), len(line)]
        page.kept.append([(begin + a, begin + b) for a, b in zip(ends[::2], ends[1::2]) if a < b])
    return page


def _in_bytes(text: str, edits: list[tuple[int, int, str]]) -> list[dict[str, Any]]:
    ascii_only = text.isascii()
    found: list[dict[str, Any]] = []
    place = size = 0
    for begin, end, new in edits:
        if ascii_only:
            start, stop = begin, end
        else:
            start = size + len(text[place:begin].encode())
            stop = start + len(text[begin:end].encode())
            place, size = end, stop
        found.append({"start": start, "end": stop, "replacement": new})
    return found
