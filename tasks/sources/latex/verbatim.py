"""Finds what LaTeX reads character by character: there, a percent sign begins no comment and a name is no macro."""

from __future__ import annotations

import re

NAMES = r"verbatim\*?|[BL]?Verbatim\*?|lstlisting|minted|filecontents\*?|Sinput|Soutput|comment"
ENVIRONMENT = re.compile(rf"\\begin[ \t]*\{{({NAMES})\}}")
INLINE = re.compile(r"\\(?:verb(?![A-Za-z@])\*?|lstinline(?![A-Za-z@])(?:\[[^\]\n]*\])?|mintinline\{\w*\})")
_DELIMITED = re.compile(r"([^\sA-Za-z*\\])")


class Verbatim:
    """The verbatim parts of one text. Ends that are not there are looked for once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._missing: set[str] = set()
        self._line = 0, -1
        self._missing_in_line: set[str] = set()

    def end_at(self, position: int) -> int | None:
        r"""The end of the verbatim part whose ``\begin`` or ``\verb`` is at `position`; None if none begins there."""
        found = ENVIRONMENT.match(self._text, position)
        if found:
            return self._end(f"\\end{{{found[1]}}}", found.end())
        inline = INLINE.match(self._text, position)
        delimiter = _DELIMITED.match(self._text, inline.end()) if inline else None
        if delimiter is None:
            return None
        return self._end_in_line("}" if delimiter[1] == "{" else delimiter[1], delimiter.end())

    def _end_in_line(self, closing: str, start: int) -> int | None:
        if not self._line[0] <= start <= self._line[1]:
            line = self._text.find("\n", start)
            self._line = start, line if line >= 0 else len(self._text)
            self._missing_in_line.clear()
        if closing in self._missing_in_line:
            return None
        end = self._text.find(closing, start, self._line[1])
        if end < 0:
            self._missing_in_line.add(closing)
            return None
        return end + 1

    def _end(self, mark: str, start: int) -> int | None:
        if mark in self._missing:
            return None
        end = self._text.find(mark, start)
        if end < 0:
            self._missing.add(mark)
            return None
        return end + len(mark)
