"""Extracts the text and the title of HTML pages, and cleans text for storage in the lake."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from lxml.etree import LxmlError
from resiliparse.extract.html2text import extract_plain_text

from tasks.html import choice
from tasks.html.scan import scan
from tasks.sources.html_tree import parse_html, serialised, to_lxml
from tasks.sources.markup import MAX_ELEMENTS, MarkupLimit
from tasks.sources.markup_rights import SAYING, said_by, saying_elements

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85]")
_UNSTORABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff\ud800-\udfff]")
_MARKUP_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError, LxmlError)


class Extractor(StrEnum):
    """What chooses the main text of a page: our own trees (`tasks.html`), or a library."""

    millrace = "millrace"
    resiliparse = "resiliparse"
    trafilatura = "trafilatura"


class ExtractionError(Exception):
    """The extractor cannot process the markup of a page."""


@dataclass(frozen=True, slots=True)
class PageText:
    """The main text of a page, without navigation and comments, one block per line, and its title on one line.

    `said` is what its markup says of rights: see `tasks.sources.markup_rights`.
    """

    text: str = field(repr=False)
    title: str | None
    said: tuple[tuple[str, str], ...] = ()


def extract_page(
    page: str, extractor: Extractor, max_elements: int = MAX_ELEMENTS, utf_8: bytes | None = None
) -> PageText:
    """Extract the main text of an HTML page or fragment, parsed as browsers do. It may be empty.

    `utf_8` is the page in UTF-8, where the caller has it.

    The result is deterministic: extractors run without a time limit and keep no state between pages. Raises
    ExtractionError if the page exceeds a limit of `check_markup`, or if the extractor's own code fails.
    """
    try:
        tree = parse_html(page, max_elements, utf_8)
        title = tree.title
        if extractor is Extractor.millrace:
            markup, saying = serialised(tree, SAYING)
            said = tuple(said_by(saying))
            text = choice.main_text(scan(markup))
        elif extractor is Extractor.resiliparse:
            said = tuple(said_by(saying_elements(tree)))
            text = extract_plain_text(tree, main_content=True, alt_texts=False, comments=False)
        else:
            from tasks.sources.main_text import main_text  # trafilatura takes 0.2 s to import

            said = tuple(said_by(saying_elements(tree)))
            text = main_text(to_lxml(tree, max_elements))
    except MarkupLimit as error:
        raise ExtractionError(str(error)) from error
    except _MARKUP_ERRORS as error:
        raise ExtractionError(f"{extractor}: {type(error).__name__}: {error}") from error
    return PageText(storable(text), " ".join(storable(title or "").split()) or None, said)


def storable(text: str) -> str:
    """Normalise line ends to LF, remove what is no character, and strip outer white space.

    Removed are control characters, lone surrogates, U+FFFE and U+FFFF.
    """
    return _UNSTORABLE.sub("", _LINE_ENDS.sub("\n", text)).strip()
