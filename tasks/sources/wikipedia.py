"""The source of MediaWiki dumps (`pages-articles`), such as those of Wikipedia: XML, plain or compressed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from typing import BinaryIO

import pydantic

from infra.outcomes import Document, Dropped, Failed, Found, Kept, Outcome, Record
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.decompressed import decompressed
from tasks.sources.extraction import storable
from tasks.sources.wiki_page import Page, read_page
from tasks.sources.xml_dump import Dump
from tasks.sources.xml_element import XmlFault
from tasks.sources.xml_items import PAGES, Item
from tasks.wikitext.nesting import TooNested
from tasks.wikitext.plain import plain_text
from tasks.wikitext.site import Site, read_site

# Of schemas that do not mark redirects, with the words of any language: #REDIRECT [[Target]].
_REDIRECT = re.compile(r"\s*#[^\W\d_]++\s*+:?\s*+\[\[[^\[\]\n]++\]\]")
_NUMBER = re.compile(r"[0-9]{1,18}")


class UnwantedPage(StrEnum):
    """Why an intact page is dropped."""

    redirect = "redirect"
    other_namespace = "other_namespace"
    not_wikitext = "not_wikitext"
    deleted_text = "deleted_text"
    empty_text = "empty_text"
    short_text = "short_text"


class BrokenPage(StrEnum):
    """The fault of a page whose XML is sound."""

    bad_id = "bad_id"
    too_nested = "too_nested"


class WikipediaConfig(StageConfig):
    """`source` names the set of dumps and is the prefix of every id, before the wiki's name and the page's number."""

    source: str = pydantic.Field(default="wikipedia", min_length=1, pattern=r"^[^\s/]+$")
    # Since 7 June 2023, by the Terms of Use of the Wikimedia Foundation; before, version 3.0.
    licence: str | None = "CC BY-SA 4.0"
    min_characters: int = pydantic.Field(default=1, ge=1)
    # MediaWiki's own limit is 2 MiB of wikitext ($wgMaxArticleSize).
    max_page_bytes: int = pydantic.Field(default=16 << 20, ge=1 << 10)


@stage("wikipedia", version=1, kind=StageKind.source, config=WikipediaConfig, libraries=["backports.zstd", "FastWARC"])
def read_wikipedia(stream: BinaryIO, name: str, config: WikipediaConfig) -> Iterator[Found]:
    """Yield every page, to be read for its outcome, and one outcome for each fault of the file.

    Pages of the main namespace that are no redirects are documents: their last revision without markup, and without
    the title. Bytes count the elements of pages. Offsets are those in the decompressed text.
    """
    dump = Dump(name, "mediawiki", PAGES, config.max_page_bytes)
    site: Site | None = None
    for found in dump.read(decompressed(stream)):
        if not isinstance(found, Item):
            yield found
            continue
        site = site or read_site(dump.head)
        read = partial(_outcome, found, name, dump.encoding, site, config)
        yield Record(found.data or b"", found.offset, read)


def _outcome(item: Item, name: str, encoding: str | None, site: Site, config: WikipediaConfig) -> Outcome:
    where = f"{name}, byte {item.offset}"
    try:
        page = read_page(item.data or b"", encoding)
    except XmlFault as fault:
        return Failed(fault.reason, item.size, f"{where}: {fault}", item.offset + fault.position)
    where = f"{where}: {page.title}"
    unwanted = _unwanted(page, site)
    if unwanted is not None:
        return Dropped(unwanted, item.size, where)
    if not _NUMBER.fullmatch(page.id):
        return Failed(BrokenPage.bad_id, item.size, f"{where}: the page has no number", item.offset)
    try:
        plain = plain_text(page.text or "", site)
    except TooNested as error:
        return Failed(BrokenPage.too_nested, item.size, f"{where}: {error}", item.offset)
    text = storable(plain.text)
    if len(text) < config.min_characters:
        return Dropped(UnwantedPage.short_text if text else UnwantedPage.empty_text, item.size, where)
    metadata: dict[str, str | int | float | None] = {
        "title": page.title,
        "page": int(page.id),
        "revision": int(page.revision) if _NUMBER.fullmatch(page.revision) else None,
        "wiki": site.name,
        "language": site.language,
        "offset": item.offset,
        # Brackets and elements that the page never closes: its text may have rests of them.
        "unclosed": plain.unclosed,
    }
    document = Document(
        id=f"{config.source}/{site.name}/{int(page.id)}",
        text=text,
        url=site.url(page.title),
        date=page.timestamp or None,
        source=config.source,
        licence=config.licence,
        metadata=metadata,
    )
    return Kept(document, item.size)


def _unwanted(page: Page, site: Site) -> UnwantedPage | None:
    space = page.ns.strip() or str(site.namespace(page.title))
    if space != "0":
        return UnwantedPage.other_namespace
    if page.is_redirect or (not site.marks_redirects and _REDIRECT.match(page.text or "")):
        return UnwantedPage.redirect
    if page.model.strip() not in ("", "wikitext"):
        return UnwantedPage.not_wikitext
    if page.is_deleted:
        return UnwantedPage.deleted_text
    return None
