"""Pages of the crawl: our own texts, and the rendering of texts as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "pages"
_MENU = ("Home", "Library", "Packages", "Licences", "Imprint")
# Every page of every file ends with these lines, so that paragraph deduplication has lines to strike.
BOILERPLATE = (
    "This page belongs to the demonstration crawl, which was made on this machine a moment ago.",
    "Links of the demonstration crawl lead nowhere: its sites exist in the archive only.",
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page: the text of a ``p``, ``h2`` or ``pre`` element."""

    text: str
    element: str = "p"


@dataclass(frozen=True, slots=True)
class Page:
    """A title and the blocks below it."""

    title: str
    blocks: tuple[Block, ...]
    language: str = "en"

    @property
    def characters(self) -> int:
        """The length of its text."""
        return sum(len(block.text) for block in self.blocks)


def own_page(name: str) -> Page:
    """One of our own texts: the first line is the title, and blank lines separate paragraphs."""
    title, *paragraphs = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    return page_of(title, paragraphs, name if len(name) == 2 else "en")


def page_of(title: str, paragraphs: Sequence[str], language: str = "en") -> Page:
    """A page of paragraphs only."""
    return Page(title, tuple(Block(paragraph) for paragraph in paragraphs), language)


def render(page: Page, charset: str = "utf-8") -> bytes:
    """Render the page as HTML in `charset`, with a menu and a footer that an extractor should remove.

    Raises UnicodeEncodeError if the charset lacks a character.
    """
    menu = "".join(f'<li><a href="/{name.lower()}">{name}</a></li>' for name in _MENU)
    article = "\n".join(f"<{b.element}>{html.escape(b.text, quote=False)}</{b.element}>" for b in page.blocks)
    closing = "\n".join(f"<p>{line}</p>" for line in BOILERPLATE)
    title = html.escape(page.title, quote=False)
    return (
        f'<!doctype html>\n<html lang="{page.language}"><head><meta charset="{charset}"><title>{title}</title></head>\n'
        f"<body><nav><ul>{menu}</ul></nav>\n<article><h1>{title}</h1>\n{article}\n{closing}\n</article>\n"
        f"<footer>Accept all cookies. Subscribe to our newsletter.</footer></body></html>\n"
    ).encode(charset)
