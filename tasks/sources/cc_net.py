"""How cc_net reads a WET record: the first line is the title, and the others, stripped, are the text.

After ``process_wet_file.py`` of facebookresearch/cc_net at commit bda555bd, which reads a file as lines of text (a line
ends at LF, CR LF or CR) and strips each. Control characters inside a line stay.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_CHARACTERS = 300  # `min_len` of its configuration
_RECORD = "WARC/1.0"


@dataclass(frozen=True, slots=True)
class Body:
    """The title and the text of a record; `lines_cut` counts the lines that cc_net takes for another record."""

    title: str
    text: str
    lines_cut: int


def read_body(stored: str) -> Body:
    """The body of a record from its decoded block and the line ends behind it.

    Of the blank lines at the end, two are the separator of records if there are two or more. A single one is a line of
    the text.
    """
    pieces = stored.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not pieces[-1]:
        pieces.pop()  # nothing follows the last line end
    lines = [line.strip() for line in pieces]
    kept = lines[: lines.index(_RECORD)] if _RECORD in lines else lines
    cut = len(lines) - len(kept)
    end = -2 if len(kept) > 1 and not kept[-1] and not kept[-2] else None
    return Body(kept[0] if kept else "", "\n".join(kept[1:end]), cut)
