"""Project Gutenberg's texts without what is not the book: header, small print, credits, footer and licence.

The marks are those of its texts since 1991. They are English in nearly all languages; some older ends are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise

_NAME = re.compile(r"pro[jy]e[ck]?t[oa]? ?gutenberg|gutenberg[- ]?pro[jy]e[ck]t|projekt gutenberg", re.IGNORECASE)
_NAMED_WITHIN = 5_000  # characters from the beginning
_FOOTER = 40_000  # characters; the licence has 19,000
_START = re.compile(
    r"^[^\w\n]{0,20}START OF (?:THE|THIS)(?: COPYRIGHTED)?\s+PROJECT\s+GUTENBERG[^\n]*$"
    # Of Australia, whose header has no other end.
    r"|^[^\w\n]{0,20}To contact Project Gutenberg of Australia go to[^\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_SMALL_PRINT_END = re.compile(
    r"^[^\w\n]{0,20}END[ *]{0,4}THE SMALL PRINT[^\n]*$|^[^\w\n]{0,20}\[\"?Small Print\"? V\.[^\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_STRONG_END = re.compile(
    r"^[^\w\n]{0,20}\*[ \t]*END OF (?:THE |THIS )?(?:COPYRIGHTED )?PROJECT\s+GUTENBERG"
    r"|^[^\w\n]{0,20}START: FULL LICEN[CS]E",
    re.IGNORECASE | re.MULTILINE,
)
_WEAK_END = re.compile(
    r"^[^\w\n]{0,20}(?:end|ende|fin|fine|fim|einde|slut|slutt|loppu|konec|koniec|v[ée]ge|sfârşit)\b[^\n]{0,60}?\bgutenberg"
    r"|^[^\w\n]{0,20}Ende dieses E-?texte?s\b|^Ce document fut pr[ée]sent[ée] en lecture"
    r"|^[^\w\n]{0,20}This is a COPYRIGHTED Project Gutenberg"
    r"|^[^\w\n]{0,20}(?:This site is full of FREE ebooks|Project Gutenberg (?:of )?Australia[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_BESIDE = 3_000  # characters between "End of Project Gutenberg's …" and "*** END OF …"
_LONGEST_MARK = 600  # characters of a mark whose title takes several lines
_CREDIT = re.compile(
    r"(?:produced|transcribed|scanned|proofread|digiti[sz]ed|prepared|updated|revised) (?:by|from)\b"
    r"|e-?text prepared by|html version by|credits?:|note: project gutenberg"
    r"|this (?:project gutenberg )?(?:e-?text|e-?book|file) (?:was|has been) (?:prepared|produced|created|scanned)"
    r"|.{0,200}(?:\bdistributed proofread|www\.pgdp\.net|images generously (?:made available|provided))"
    r"|.{0,200}\bproject gutenberg\b.{0,100}\bproofread",
    re.IGNORECASE | re.DOTALL,
)
_PROOFREADERS = re.compile(r"proofread\w+(?: team\b.{0,80})?\W*$|pgdp\.net\W*$", re.IGNORECASE)
_MOST_CREDITS = 4
_LONGEST_CREDIT = 1_500
_INSIDE = re.compile(r"<<THIS ELECTRONIC VERSION OF[^<>]{0,2000}>>\s*", re.IGNORECASE)
_FIELD = re.compile(
    r"^[ \t]*(title|titre|titel|titolo|t[íi]tulo|nimi|author|auteur|autor|autore|f[öo]rfattare|forfatter|tekij[äa])"
    r"[ \t]*:[ \t]*(\S[^\n]*(?:\n[ \t]{5,}\S[^\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_TITLES = ("titl", "titr", "tite", "tito", "títu", "titu", "nimi")
_FIRST_LINE = re.compile(
    r"project gutenberg(?:'s|’s)?[ \t]+(?:e-?(?:text|book)[ \t]+)?(?:of[ \t]+)?"
    r"(?P<title>\S[^\n]{0,200}?),[ \t]+by[ \t]+(?P<author>[^\n,*]{2,100})",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\[\s*e-?(?:text|book)[ \t]*#[ \t]*(\d{1,6})\s*\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Book:
    """The text of a book, and what its header says. `marks`: those of Project Gutenberg that were found.

    They are ``none`` for other texts, ``both``, ``start`` or ``end``, and ``missing`` where only the name stands in it.
    A file may hold several `books`, one behind the other; title, author and number are those of the first.
    """

    text: str = field(repr=False)
    title: str | None = None
    author: str | None = None
    number: str | None = None
    marks: str = "none"
    books: int = 1


def without_boilerplate(text: str) -> Book:
    """The book, or the books, in a text of Project Gutenberg; any other text as it is. Line ends are LF."""
    if not _NAME.search(text[:_NAMED_WITHIN]) and not _STRONG_END.search(text, max(0, len(text) - _FOOTER)):
        return Book(text)
    cuts = _cuts(text)
    first, *others = [
        _one_book(text[begin:end], behind_another=begin > 0)
        for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
    ]
    whole = "\n\n".join(book.text.strip() for book in (first, *others)) if others else first.text
    return replace(first, text=whole, books=1 + len(others))


def _cuts(text: str) -> list[int]:
    """Where a book ends and another one begins in the same file: behind the end, before the footer."""
    starts = [mark.start() for mark in _START.finditer(text)]
    ends = [mark.end() for mark in _STRONG_END.finditer(text)]
    cuts: list[int] = []
    for before, behind in pairwise(starts):
        between = [end for end in ends if before < end < behind]
        cuts += between[:1]
    return cuts


def _one_book(text: str, behind_another: bool) -> Book:
    start = _start(text, len(text) if behind_another else max(len(text) // 2, 4 * _NAMED_WITHIN))
    end = _end(text, start or 0)
    head = text[: start if start is not None else _NAMED_WITHIN]
    title, author = _title_and_author(head)
    number = _NUMBER.search(head)
    body = text[start or 0 : end if end is not None else len(text)]
    if start is not None:
        body = _without_credits(body)
    marks = {(True, True): "both", (True, False): "start", (False, True): "end", (False, False): "missing"}
    return Book(
        _INSIDE.sub("", body),
        title,
        author,
        number[1] if number else None,
        marks[start is not None, end is not None],
    )


def _start(text: str, within: int) -> int | None:
    """Where the book begins: behind the last mark of a beginning or of an end of small print `within` so much."""
    found = [
        _behind_mark(text, mark) for pattern in (_START, _SMALL_PRINT_END) for mark in pattern.finditer(text, 0, within)
    ]
    return max(found, default=None)


def _behind_mark(text: str, mark: re.Match[str]) -> int:
    """The end of a mark, which may go on for some lines up to its asterisks."""
    if not mark[0].rstrip().endswith("*") and "*" in mark[0]:
        closing = text.find("***", mark.end(), mark.end() + _LONGEST_MARK)
        blank = text.find("\n\n", mark.end(), mark.end() + _LONGEST_MARK)
        if closing >= 0 and (blank < 0 or closing < blank):
            return closing + 3
    return mark.end()


def _end(text: str, start: int) -> int | None:
    """Where the footer begins."""
    strong = _STRONG_END.search(text, start)
    if strong is not None:
        near = _WEAK_END.search(text, max(start, strong.start() - _BESIDE), strong.start())
        return near.start() if near else strong.start()
    return max((weak.start() for weak in _WEAK_END.finditer(text, start)), default=None)


def _without_credits(body: str) -> str:
    """The body without the lines and paragraphs at its beginning that say who made the file."""
    for _ in range(_MOST_CREDITS):
        plain = body.lstrip()
        line = plain.partition("\n")[0]
        if len(line) <= _LONGEST_CREDIT and _CREDIT.match(line) and _PROOFREADERS.search(line):
            body = plain[len(line) :]
            continue
        end = plain.find("\n\n", 0, _LONGEST_CREDIT)
        if end < 0 or not _CREDIT.match(plain[:end].lstrip("[*_( ")):
            return body
        body = plain[end:]
    return body


def _title_and_author(head: str) -> tuple[str | None, str | None]:
    title = author = None
    for found in _FIELD.finditer(head):
        value = " ".join(found[2].split())
        if found[1].lower().startswith(_TITLES):
            title = title or value
        else:
            author = author or value
    first = _FIRST_LINE.search(head)
    if first is not None and title is None:
        title, author = first["title"].strip(), author or first["author"].strip()
    return title, author
