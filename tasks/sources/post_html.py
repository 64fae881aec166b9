"""The text of a post that a site stores as HTML: all of it, with code as it is, items of lists and rows of tables.

Unlike a web page (`tasks.html`), a post has no navigation: nothing is chosen, and only markup goes.
"""

from __future__ import annotations

import re

from lxml import etree

from tasks.sources.html_tree import parse_html, to_lxml
from tasks.sources.markup import MAX_ELEMENTS

_SPACES = re.compile("[ \t\n\r\f]+")
_PARAGRAPHS = frozenset({"p", "ul", "ol", "dl", "blockquote", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "div"})
_LINES = frozenset(
    {"li", "tr", "dt", "dd", "br", "caption", "thead", "tbody", "tfoot", "section", "details", "summary"}
)
_VERBATIM = frozenset({"pre", "code"})
_CELLS = frozenset({"td", "th"})
_LISTS = frozenset({"ul", "ol"})


def post_text(markup: str) -> str:
    """The text of HTML, parsed as browsers do.

    Paragraphs, headings, lists and blocks of code stand apart by an empty line. Items begin with "- " or their number,
    two spaces deeper in an inner list; cells are divided by a bar. Raises `tasks.sources.markup.MarkupLimit`.
    """
    writer = _Writer()
    for event, element in etree.iterwalk(to_lxml(parse_html(markup, MAX_ELEMENTS), MAX_ELEMENTS), ("start", "end")):
        if event == "start":
            writer.start(element.tag, element.get("start"))
            writer.add(element.text)
        else:
            writer.end(element.tag)
            writer.add(element.tail)
    return writer.text


class _Writer:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._break = 0  # line ends before the next text
        self._space = False
        self._verbatim = self._cells = 0
        self._lists: list[int | None] = []  # the number of the last item; None without numbers
        self._cell_of_row = 0
        self._marked = False  # a mark of an item is the last that was written

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def start(self, tag: str, first: str | None) -> None:
        if tag in _VERBATIM:
            self._part(2 if tag == "pre" else 0)
            self._verbatim += 1
        elif tag in _CELLS:
            self._cells += 1
            self._cell_of_row += 1
            if self._cell_of_row > 1:
                self._write(" | ")
        elif tag in _PARAGRAPHS:
            # A list in an item begins on the next line.
            self._part(1 if tag in _LISTS and self._lists else 2)
        elif tag in _LINES:
            self._part(1)
        if tag in _LISTS:
            number = int(first) if first and first.isascii() and first.isdecimal() and len(first) < 10 else 1
            self._lists.append(number - 1 if tag == "ol" else None)
        elif tag == "tr":
            self._cell_of_row = 0
        elif tag == "li":
            self._item()

    def end(self, tag: str) -> None:
        if tag in _VERBATIM:
            self._verbatim -= 1
            self._part(2 if tag == "pre" else 0)
        elif tag in _CELLS:
            self._cells -= 1
        elif tag in _LISTS:
            self._lists.pop()
            self._part(1 if self._lists else 2)
        elif tag in _PARAGRAPHS:
            self._part(2)
        elif tag in _LINES and tag != "br":
            self._part(1)

    def add(self, text: str | None) -> None:
        if not text:
            return
        if self._verbatim:
            self._write(text.rstrip("\n") if not self._break else text.strip("\n"))
            self._break = len(text) - len(text.rstrip("\n"))
            return
        found = _SPACES.sub(" ", text)
        words = found.strip(" ")
        if found.startswith(" ") and not self._break:
            self._space = True
        if words:
            self._write(words)
            self._space = found.endswith(" ")

    def _item(self) -> None:
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number = number + 1
        self._write("  " * (len(self._lists) - 1) + ("- " if number is None else f"{number}. "))
        self._marked = True

    def _part(self, lines: int) -> None:
        if self._marked or not lines:
            return  # the text of an item follows its mark
        if self._cells:
            self._space = True
        else:
            self._break = max(self._break, lines)

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._pieces and self._break:
            self._pieces.append("\n" * self._break)
        elif self._pieces and self._space and not self._pieces[-1].endswith(" "):
            self._pieces.append(" ")
        self._break, self._space, self._marked = 0, False, False
        self._pieces.append(text)
