r"""Removes comments: from a percent sign to the end of its line, ``comment`` environments, ``\iffalse`` to ``\fi``."""

from __future__ import annotations

import re

from tasks.sources.latex.verbatim import Verbatim

# A backslash takes the next character with it: in \\% the percent sign is a comment, in \% it is a character.
_MARK = re.compile(r"\\(?:(?:url|path|nolinkurl|href)[ \t]*\{[^{}\n]*+\}|iffalse(?![A-Za-z@])|.)|%", re.DOTALL)
_LONGEST_INDENT = 1000
_CONDITION = re.compile(r"\\(?:if(?!f(?![A-Za-z@]))[A-Za-z@]*|fi(?![A-Za-z@])|else(?![A-Za-z@]))")
_COMMENT_BEGIN = r"\begin{comment}"


def remove_comments(text: str) -> str:
    r"""The text without comments; verbatim text and addresses keep their percent signs.

    A line that is only a comment goes entirely. Others keep their line end, as in pandoc; TeX would join the two lines.
    """
    verbatim, conditions = Verbatim(text), _Conditions(text)
    kept: list[str] = []
    position = search = 0
    while found := _MARK.search(text, search):
        start, search = found.span()
        if found[0] == "%":
            piece = text[position:start]
            line = text.rfind("\n", max(0, start - _LONGEST_INDENT), start) + 1
            alone = not text[line:start].strip(" \t")
            kept.append(piece.rstrip(" \t") if alone else piece)
            line_end = text.find("\n", start)
            position = search = len(text) if line_end < 0 else line_end + alone
            continue
        end = verbatim.end_at(start)
        drops = end is not None and text.startswith(_COMMENT_BEGIN, start)
        if found[0] == "\\iffalse":
            end = conditions.end(search)
            drops = end is not None
        search = end or search
        if drops:
            kept.append(text[position:start])
            position = search
    kept.append(text[position:])
    return "".join(kept)


class _Conditions:
    def __init__(self, text: str) -> None:
        self._text = text
        self._none_from = len(text)

    def end(self, start: int) -> int | None:
        r"""The end of an ``\iffalse``; None if another condition stands in it, which would need TeX to read."""
        found = _CONDITION.search(self._text, start) if start < self._none_from else None
        if found is None:
            self._none_from = min(start, self._none_from)
        return found.end() if found and found[0] == "\\fi" else None
