"""Markdown of words that come from pages and lakes: they are shown as they are, and never become links or markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from markdown_it import MarkdownIt

from infra.visible import visible

# Punctuation that means something in CommonMark or in GitHub's extensions of it, autolinks included.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&!:@$]|(?<=www)\.", re.IGNORECASE)

_LONGEST_CELL = 1_000  # characters; three examples with an address each are shorter


def escaped(value: object) -> str:
    """A value as plain text in a line of Markdown."""
    words = " ".join(visible(str(value)).split())
    return _MARKUP.sub(lambda found: f"\\{found[0]}", words)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table. Numbers are right-aligned, with commas; None is a dash. Of a long value the beginning is shown."""
    listed = [list(row) for row in rows]
    numeric = [
        bool(listed) and all(isinstance(row[at], (int, float)) or row[at] is None for row in listed)
        for at in range(len(columns))
    ]
    lines = [columns, ["---:" if right else "---" for right in numeric]]
    lines += [[_cell(value) for value in row] for row in listed]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def to_html(markdown: str) -> str:
    """The HTML of a text of this module. HTML within the text stays text."""
    html: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return html


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, (int, float)):
        return f"{value:,}"
    words = str(value)
    more = f"… ({len(words):,} characters)" if len(words) > _LONGEST_CELL else ""
    return escaped(words[:_LONGEST_CELL]) + more
