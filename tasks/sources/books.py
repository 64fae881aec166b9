"""The source of books: texts in files, such as Project Gutenberg's or those of a Books3-style archive.

LLaMA takes Gutenberg and Books3, and of books with more than 90 % of their content in common one (Touvron et al. 2023,
section 2.1). That is the business of the step `near_duplicates`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import pydantic

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, Record
from infra.stage import StageKind, stage
from tasks.sources.charset import decode_page
from tasks.sources.containers.faults import ContainedFile, Limits
from tasks.sources.containers.files import read_files
from tasks.sources.containers.identity import identity
from tasks.sources.extraction import storable
from tasks.sources.gutenberg import without_boilerplate
from tasks.sources.repair import RepairConfig, repairing

_MOST_REPLACED = 0.1
_ENCODING = re.compile(rb"character set encoding:[ \t]*+(?:iso )?([\w-]{3,20})", re.IGNORECASE)
_ENCODING_WITHIN = 5_000
# "Author - Title.txt", as files of Books3 are named.
_NAMED = re.compile(r"(?P<author>[^/]{2,100}?) - (?P<title>[^/]{2,300})")
_ENDINGS = re.compile(r"(?:\.(?:txt|text|epub|mobi|pdf|html?|rtf|docx?))+\Z", re.IGNORECASE)


class BooksConfig(RepairConfig):
    """`extensions` are those of the files that are books; others in an archive are dropped as `not_text`.

    `licence` is that of all documents.
    """

    source: str = pydantic.Field("books", min_length=1, pattern=r"^[^\s/]+$")
    licence: str | None = None
    extensions: tuple[str, ...] = (".txt", ".text")
    min_characters: int = pydantic.Field(1, ge=1)
    # The whole book is one document: see `tasks.sources.jsonl`.
    max_file_bytes: int = pydantic.Field(16 << 20, ge=1 << 10)


@stage("books", version=1, kind=StageKind.source, config=BooksConfig, libraries=["FastWARC", "isal", "Resiliparse"])
@repairing
def read_books(stream: BinaryIO, name: str, config: BooksConfig) -> Iterator[Record | Outcome]:
    """Yield every book, to be read for its outcome. The text is without the header and footer of Project Gutenberg."""
    for found in read_files(stream, name, Limits(config.max_file_bytes), partial(_unwanted, config=config)):
        if isinstance(found, ContainedFile):
            yield Record(found.data, found.offset, partial(_book, found, name, config))
        else:
            yield found


def _unwanted(path: str, config: BooksConfig) -> str | None:
    return None if path.lower().endswith(config.extensions) else "not_text"


def _book(found: ContainedFile, name: str, config: BooksConfig) -> Outcome:
    size = len(found.data)
    where = found.where(name)
    declared = _ENCODING.search(found.data[:_ENCODING_WITHIN])
    page = decode_page(found.data, f"text/plain; charset={declared[1].decode()}" if declared else None)
    if page.replaced > _MOST_REPLACED * len(page.text):
        detail = f"{where}: {page.replaced} of {len(page.text)} characters are not {page.charset}"
        return Failed("undecodable", size, detail, found.offset)
    book = without_boilerplate(storable(page.text))
    text = book.text.strip()
    if len(text) < config.min_characters:
        return Dropped("short_text" if text else "empty_text", size, where)
    stem = _ENDINGS.sub("", (found.path or "").rpartition("/")[2])
    named = _NAMED.fullmatch(stem)
    metadata: dict[str, str | int | float | None] = {
        "path": found.path,
        "title": book.title or (named["title"] if named else None),
        "author": book.author or (named["author"] if named else None),
        "charset": page.charset,
        "gutenberg_marks": book.marks,
        "gutenberg_books": book.books if book.books > 1 else None,
        "offset": found.offset,
    }
    url = f"https://www.gutenberg.org/ebooks/{book.number}" if book.number else None
    own = f"{config.source}/{identity(found.path, found.data)}"
    return Kept(Document(own, text, url, None, config.source, config.licence, metadata), size)
