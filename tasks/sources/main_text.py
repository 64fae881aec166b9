"""The main text of a parsed page, as trafilatura chooses it, with every character of it.

Trafilatura 2.3.1 reads pages with libxml2, which stops at some depths and sizes, deletes characters that Python's
Unicode tables do not call printable (joiners, tags, private use, new blocks), and resolves character references twice.
This module gives it a tree and writes the text itself. Three of trafilatura's functions are replaced, at import:

- the JSON-LD fallback parses markup as browsers do and keeps every character that lxml can hold;
- after many tags are stripped, the pieces of text are joined: lxml's access to a text node is linear in the number of
  those before it (96 s for 20,000 spans in a paragraph).
"""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Iterable

from lxml import etree
from lxml.html import HtmlElement
from trafilatura import htmlprocessing, main_extractor
from trafilatura.core import trafilatura_sequence
from trafilatura.settings import Extractor as Options
from trafilatura.xml import process_element

from tasks.sources.html_tree import parse_html, to_lxml, xml_text
from tasks.sources.markup import MAX_ELEMENTS, MarkupLimit

# Without its fallback extractors, trafilatura 2.3.1 is a third faster and slightly better on the gold pages.
_OPTIONS = Options(fast=True, comments=False)
_MANY = 100
_MOST_SPANNED = 100  # as trafilatura cuts spans
_MOST_COLUMNS = 1_000
_MOST_CELLS = 200_000

# The outcome of a page records trafilatura's errors; its log messages do not name the page.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


def main_text(root: HtmlElement) -> str:
    """The main text of a page without comments, one block per line; may be empty. Changes the tree.

    The time is about linear in the number of elements: 0.1 ms each, and up to 0.4 ms in the worst cases known.
    """
    _check_tables(root)
    body, _, _, _ = trafilatura_sequence(root, _OPTIONS)
    pieces: list[str] = []
    process_element(body, pieces, include_formatting=False)
    return "\n".join(line for line in "".join(pieces).split("\n") if line)


def _check_tables(root: HtmlElement) -> None:
    """Limit the cells that trafilatura adds: for spans, and to fill every row up to the width of its table.

    It takes the square of the time for a wide row.
    """
    rows: Counter[HtmlElement] = Counter()
    widths: Counter[HtmlElement] = Counter()
    filled = 0
    for row in root.iter("tr"):
        spans = [(_span(cell, "colspan"), _span(cell, "rowspan")) for cell in row.iterchildren("td", "th")]
        width = sum(columns for columns, _ in spans)
        if width > _MOST_COLUMNS:
            raise MarkupLimit(f"a row of a table has more than {_MOST_COLUMNS} columns")
        table = next(row.iterancestors("table"), root)
        rows[table] += 1
        widths[table] = max(widths[table], min(width, _MOST_SPANNED))
        filled += sum(columns * lines for columns, lines in spans if lines > 1)
    if filled + sum(rows[table] * widths[table] for table in rows) > _MOST_CELLS:
        raise MarkupLimit(f"the page's tables have room for more than {_MOST_CELLS} cells")


def _span(cell: HtmlElement, attribute: str) -> int:
    value = cell.get(attribute, "1")
    return min(int(value), _MOST_SPANNED) if value.isdecimal() and len(value) < 10 else 1


def _fragment(markup: str, create_parent: str) -> HtmlElement:
    return to_lxml(parse_html(markup, MAX_ELEMENTS), MAX_ELEMENTS).find("body")


def _strip_tags(tree: HtmlElement, *names: str | Iterable[str]) -> None:
    flat = [tag for name in names for tag in ([name] if isinstance(name, str) else name)]
    many = flat and sum(1 for _ in tree.iter(*flat)) > _MANY
    etree.strip_tags(tree, *flat)
    for element in tree.iter() if many else ():
        # Lxml joins the adjacent text nodes when it reads them, and writes one.
        if element.text:
            element.text = element.text
        if element.tail:
            element.tail = element.tail


# The package has a function of the module's name.
vars(importlib.import_module("trafilatura.baseline")).update(
    fragment_fromstring=_fragment, remove_control_characters=xml_text
)
for _module in (htmlprocessing, main_extractor):
    vars(_module).update(strip_tags=_strip_tags)
