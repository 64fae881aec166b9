"""The errors in the output of ranks: all that is known of one that ends before it can write into the logbook."""

from __future__ import annotations

import re

from model.supervision.termination import PERMANENT

_START = "Traceback (most recent call last):"
_RANK = re.compile(r"^\[rank\d+\]:\s?")  # the prefix of PyTorch's exception hook
_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?:: (.*))?")


class OutputErrors:
    """Reads the output line by line, and keeps the last line of every traceback."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []
        self._inside = False

    def read(self, line: str) -> None:
        """Take the next line of the output."""
        line = _RANK.sub("", line.rstrip("\n"))
        if line.strip() == _START:
            self._inside = True
        elif self._inside and line and not line[0].isspace():
            self._inside = False
            if found := _ERROR.fullmatch(line):
                self._found.append((found[1], found[2] or ""))

    def reason(self) -> str:
        """The error that a restart would raise again, or else the first: peers fail later. "" if there is none."""
        permanent = (error for error in self._found if error[0] in PERMANENT)
        kind, message = next(permanent, self._found[0] if self._found else ("", ""))
        return f"{kind}: {message}" if message else kind
