"""Pages served as XHTML, for a parser of HTML: what only XML reads in a certain way is written as HTML reads it."""

from __future__ import annotations

import html
import re

from tasks.sources.html_tree import VOID

# Linear: an attempt ends at the next "<" outside of quotes, and each quoted value is passed once.
_TOKEN = re.compile(
    r"<([A-Za-z_][^\s/<>\"'=]*+)((?:[^\"'/<>]++|\"[^\"<]*+\"|'[^'<]*+'|/(?!>))*+)/>|<!\[CDATA\[|<!--", re.DOTALL
)


def as_html(page: str) -> str:
    """`page` with end tags for empty elements (``<title/>``), and the text of CDATA sections with references.

    In HTML, a ``title``, ``script`` or ``textarea`` without an end tag swallows what follows.
    """
    pieces: list[str] = []
    position = 0
    ends = {"<![CDATA[": "]]>", "<!--": "-->"}
    for token in _TOKEN.finditer(page):
        start = token.start()
        if start < position:  # in a comment or a CDATA section
            continue
        if token[1] is not None:
            void = token[1].lower() in VOID
            pieces += page[position:start], f"<{token[1]}{token[2]}>", "" if void else f"</{token[1]}>"
            position = token.end()
        elif (sign := ends.get(token[0])) is not None:
            end = page.find(sign, token.end())
            if end < 0:  # nor is there one behind a later start
                del ends[token[0]]
                continue
            pieces.append(page[position:start])
            position = end + len(sign)
            pieces.append(page[start:position] if sign == "-->" else html.escape(page[token.end() : end], quote=False))
    return "".join([*pieces, page[position:]])
