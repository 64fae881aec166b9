"""Reads LaTeX token by token from a stack of texts: what a macro stands for is read before the rest."""

from __future__ import annotations

import functools
import re

_PLAIN = re.compile(r"[^\\{}]+")
_CONTROL = re.compile(r"\\(?:[A-Za-z]+|.|\Z)", re.DOTALL)
_INTERNAL = re.compile(r"\\(?:[A-Za-z@]+|.|\Z)", re.DOTALL)
_BLANK = re.compile(r"[ \t]*+(?:\n[ \t]*+(?!\n))?+")
_SPACES = re.compile(r"[ \t]*+")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_CONTROL_WORD = re.compile(r"\\[A-Za-z@]+\Z")
_LINE_END, _LINE_START = re.compile(r"\n[ \t]*\Z"), re.compile(r"[ \t]*\n")
_LONGEST_WORD = 100
Mark = tuple[tuple[str, ...], tuple[int, ...]]


class Tokens:
    """The rest of a text. Methods that read an argument return None, and may have read on, where there is none.

    `internal`: whether @ is a letter, as in style files. `work` counts the characters that were searched.
    """

    def __init__(self, text: str) -> None:
        self._texts, self._positions = [text], [0]
        self.internal = False
        self.work = 0

    def mark(self) -> Mark:
        """The place of reading, to `go` back to."""
        self.work += len(self._texts)
        return tuple(self._texts), tuple(self._positions)

    def go(self, mark: Mark) -> None:
        """Read on from there."""
        self._texts, self._positions = list(mark[0]), list(mark[1])

    @property
    def depth(self) -> int:
        """The number of texts that are open."""
        return len(self._texts)

    def push(self, text: str) -> None:
        """Read this text first."""
        self._drop_finished()
        self._texts.append(text)
        self._positions.append(0)

    def plain(self) -> str:
        """The characters before the next control sequence or brace of the innermost text."""
        self._drop_finished()
        return self._take(_PLAIN)

    def token(self) -> str:
        """The next control sequence (with its backslash) or character; "" at the end."""
        self._drop_finished()
        control = self._take(_INTERNAL if self.internal or len(self._texts) > 1 else _CONTROL)
        if control:
            return control
        found = self.peek()
        self._positions[-1] += len(found)
        return found

    def peek(self) -> str:
        """The next character; "" at the end."""
        self._drop_finished()
        return self._texts[-1][self._positions[-1] : self._positions[-1] + 1]

    def skip_spaces(self) -> None:
        """Pass blanks, and no line end."""
        self._drop_finished()
        while self._take(_SPACES) and self._drop_finished():
            pass

    def skip_blank(self) -> None:
        """Pass blanks and one line end, as TeX does before an argument."""
        self._drop_finished()
        while self._take(_BLANK) and self._drop_finished():
            pass

    def rest_of_line(self) -> bool:
        """Pass the line end if only blanks stand before it."""
        self._drop_finished()
        text, position = self._texts[-1], self._positions[-1]
        end = position
        while text[end : end + 1] in (" ", "\t"):
            end += 1
        if text[end : end + 1] != "\n":
            return False
        self._positions[-1] = end + 1
        return True

    def takes(self, text: str) -> bool:
        """Pass `text` if it comes next."""
        self._drop_finished()
        if not self._texts[-1].startswith(text, self._positions[-1]):
            return False
        self._positions[-1] += len(text)
        return True

    def argument(self) -> str | None:
        """An argument: what stands in braces, or one token."""
        self.skip_blank()
        if self.peek() == "{":
            return self.group()
        token = self.token()
        return token if token not in ("", "}") else None

    def group(self) -> str | None:
        """What stands in the braces that come next."""
        return self.until("}") if self.takes("{") else None

    def optional(self) -> str | None:
        """What stands in the brackets that come next."""
        mark = self.mark()
        self.skip_blank()
        if self.takes("["):
            found = self.until("]")
            if found is not None:
                return found
        self.go(mark)
        return None

    def until(self, end: str) -> str | None:
        """What stands before `end`, outside braces; passes it too."""
        pieces: list[str] = []
        depth = 0
        pattern = _BRACE if end == "}" else _ends(end)
        while True:
            text, position = self._texts[-1], self._positions[-1]
            for found in pattern.finditer(text, position):
                token = found[0]
                if depth == 0 and token == end:
                    pieces.append(text[position : found.start()])
                    self.work += found.end() - position
                    self._positions[-1] = found.end()
                    return "".join(pieces)
                depth += (token == "{") - (token == "}")
                if depth < 0:
                    self.work += found.end() - position
                    return None
            self.work += len(text) - position
            pieces.append(text[position:])
            self._positions[-1] = len(text)
            if not self._drop_finished():
                return None

    def raw(self) -> tuple[str, int]:
        """The innermost text and the place of reading in it."""
        return self._texts[-1], self._positions[-1]

    def pass_to(self, position: int) -> str:
        """The innermost text up to a position, which is passed."""
        text, start = self.raw()
        self._positions[-1] = position
        return text[start:position]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._texts[-1], self._positions[-1])
        if not found:
            return ""
        self._positions[-1] = found.end()
        return found[0]

    def _drop_finished(self) -> bool:
        """Leave the texts that are read to their end, but not the outermost; whether there were such."""
        before = len(self._texts)
        while len(self._texts) > 1 and self._positions[-1] >= len(self._texts[-1]):
            self._texts.pop()
            self._positions.pop()
        return len(self._texts) < before


@functools.lru_cache(64)
def _ends(end: str) -> re.Pattern[str]:
    whole = r"(?![A-Za-z@])" if _CONTROL_WORD.search(end) else ""
    return re.compile(re.escape(end) + whole + r"|\\.|[{}]", re.DOTALL)


def joined(before: str, after: str) -> str:
    """A blank if the two would be read as one control word, else nothing."""
    letter = (after[:1].isascii() and after[:1].isalpha()) or after[:1] == "@"
    return " " if letter and _CONTROL_WORD.search(before[-_LONGEST_WORD:]) else ""


def ends_line(text: str) -> bool:
    """Whether what follows a text begins a line, perhaps behind blanks."""
    return not text or _LINE_END.search(text[-_LONGEST_WORD:]) is not None


def without_empty_line(before: str, after: str) -> str:
    """`after` without a line end at its beginning that would make an empty line behind `before`."""
    found = _LINE_START.match(after) if before and ends_line(before) else None
    return after[found.end() :] if found else after
