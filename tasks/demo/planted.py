"""The records planted in the demo's crawl, and the expected outcome of each.

Outcomes are written as in `millrace explain`: ``kept``, ``stage:dropped:reason`` or ``stage:failed:reason``. A record
with the stage ``source`` does not become a document; it is one entry of the source's account.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tasks.demo import spam
from tasks.demo.archives import ContentEncoding, encode_body, http_response, record_id, torn_gzip
from tasks.demo.rendering import Page, own_page, page_of, render

SOURCE = "crawl"
PAGES_FILE = "03-pages.warc.lz4"
MIRROR_FILE = "04-mirror.warc.gz"
DAMAGED_FILE = "05-damaged.warc.gz"
ARC_FILE = "02-topics.arc.gz"
KEPT = "kept"
STRUCK = "paragraphs:dropped:all_text_struck"
NEAR_DUPLICATE = "near_duplicates:dropped:near_duplicate"
DUPLICATE_ID = "documents:failed:duplicate_id"
UNWANTED_LANGUAGE = "language:dropped:unwanted_language"

# The damage of the archive at the location of a record; see `tasks.demo.crawl`.
Damage = Literal["", "cut_off", "corrupt", "wrong_checksum", "wrong_length", "stray_bytes"]


@dataclass(frozen=True, slots=True)
class Planted:
    """One record: its location, its content, its expected outcome and the reason.

    `kind` is its WARC type, `block` its content as captured. `copy_of` is the name of the record that it copies, if
    both are documents; `id_of` is the name of the record whose id it repeats.
    """

    name: str
    file: str
    fate: str
    why: str
    block: bytes
    kind: str = "response"
    copy_of: str = ""
    id_of: str = ""
    damage: Damage = ""
    truncated: str = ""
    uri: str = ""

    @property
    def url(self) -> str:
        """Its URI. By default, the URL that follows from its file and name."""
        return self.uri or _url(self.file, self.name)

    @property
    def document_id(self) -> str:
        """The id of the resulting document in WARC files; ARC has no record ids."""
        return f"{SOURCE}/{record_id(self.kind, _url(self.file, self.id_of) if self.id_of else self.url)}"

    @property
    def is_document(self) -> bool:
        """Whether the source makes a document from it."""
        return not self.fate.startswith("source:")


@functools.cache
def planted_records() -> tuple[Planted, ...]:
    """All planted records, in the order of their files. Names are unique."""
    records = (*_languages(), *_originals(), *_copies(), *_spam(), *_unwanted(), *_broken_messages(), *_damaged())
    names = [record.name for record in records]
    if len(set(names)) < len(names):
        raise ValueError(f"two planted records have the same name: {sorted(names)}")
    return records


def _languages() -> list[Planted]:
    """A page in each language, each as sent by a different kind of server."""
    sent: list[tuple[str, str, ContentEncoding, bool]] = [
        ("en", "utf-8", "", True),
        ("de", "windows-1252", "gzip", False),
        ("fr", "iso-8859-15", "gzip", True),
        ("es", "iso-8859-1", "deflate", False),
        ("it", "utf-8", "br", True),
        ("nl", "utf-8", "br", False),
        ("pt", "windows-1252", "", True),
        ("ru", "koi8-r", "gzip", False),
    ]
    made = [
        _page(name, PAGES_FILE, KEPT, f"a page in {name}, {charset} {encoding}", own_page(name), charset, encoding, cut)
        for name, charset, encoding, cut in sent
    ]
    why = "the rules count words between spaces, so languages without them are not asked for"
    made += [
        _page("ja", PAGES_FILE, UNWANTED_LANGUAGE, why, own_page("ja"), "euc-jp", "gzip", True),
        _page("zh", PAGES_FILE, UNWANTED_LANGUAGE, why, own_page("zh"), "gb18030", "", False),
        _page("gibberish", PAGES_FILE, "language:dropped:low_language_score", "no language", spam.gibberish()),
    ]
    return made


def _originals() -> list[Planted]:
    longer = "a longer near-copy of it is kept"
    later = "its file comes first, but it was crawled later"
    return [
        _page("mill", PAGES_FILE, NEAR_DUPLICATE, longer, own_page("mill")),
        _page("lake", PAGES_FILE, KEPT, "its longer near-copy fails a rule, so the next one stays", own_page("lake")),
        _page("ferry", PAGES_FILE, KEPT, "of equal texts in different files, the earliest stays", own_page("ferry")),
        _page("night", PAGES_FILE, STRUCK, "every line of it stands twice in one file", own_page("night")),
        replace(
            _page("night-again", PAGES_FILE, STRUCK, "and all copies of a line are struck", own_page("night")),
            copy_of="night",
        ),
        replace(_page("ferry-arc", ARC_FILE, NEAR_DUPLICATE, later, own_page("ferry")), copy_of="ferry"),
    ]


def _copies() -> list[Planted]:
    mill, lake, night = own_page("mill"), own_page("lake"), own_page("night")
    annotated = _each(mill, lambda text: f"{text} So far the old book.")
    abridged = _each(mill, lambda text: text.rsplit(" ", 2)[0])
    bulleted = _each(page_of(f"• {lake.title}", _texts(lake)), lambda text: f"• {text} That is all.")
    borrowed = [f"{text} So it is told elsewhere." for text in (_texts(mill)[0], _texts(lake)[1], _texts(night)[2])]
    own = "Of the stories below, the first was told by a miller, the second by a librarian and the third by nobody."
    return [
        _copy("mill-annotated", "mill", KEPT, "the longest of its cluster", annotated),
        _copy("mill-abridged", "mill", NEAR_DUPLICATE, "a longer one is kept", abridged),
        _copy("lake-bulleted", "lake", "heuristics:dropped:bullet_lines", "every line is a bullet", bulleted),
        _copy("ferry-mirror", "ferry", NEAR_DUPLICATE, "the same text in an earlier file is kept", own_page("ferry")),
        _page(
            "anthology",
            MIRROR_FILE,
            KEPT,
            "quotes others, and resembles none",
            page_of("Three stories", [own, *borrowed]),
        ),
        replace(
            _page(
                "second-of-its-id", MIRROR_FILE, DUPLICATE_ID, "a record before it has its id", spam.closing_notice()
            ),
            id_of="mill-annotated",
        ),
    ]


def _spam() -> list[Planted]:
    pages: list[tuple[str, str, Callable[[], Page]]] = [
        ("short", "word_count", spam.short_page),
        ("long-words", "mean_word_length", spam.long_word_spam),
        ("tags", "hash_signs", spam.tag_spam),
        ("teaser", "ellipses", spam.teaser_spam),
        ("list", "bullet_lines", spam.list_spam),
        ("unfinished", "ellipsis_lines", spam.unfinished_spam),
        ("prices", "alphabetic_words", spam.price_spam),
        ("two-words", "top_2_gram", spam.two_word_spam),
        ("three-words", "top_3_gram", spam.three_word_spam),
        ("four-words", "top_4_gram", spam.four_word_spam),
        ("echo", "duplicate_5_grams", spam.echo_spam),
    ]
    return [
        _page(f"spam-{name}", MIRROR_FILE, f"heuristics:dropped:{rule}", f"breaks the rule {rule}", make())
        for name, rule, make in pages
    ]


def _unwanted() -> list[Planted]:
    """Intact records that are not pages."""
    page = render(own_page("en"))
    image = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
    moved = {"Location": "https://pages.demo.example/en.html"}

    def dropped(name: str, reason: str, why: str, block: bytes, kind: str = "response", uri: str = "") -> Planted:
        return Planted(name, MIRROR_FILE, f"source:dropped:{reason}", why, block, kind, uri=uri)

    return [
        dropped("not-found", "http_status", "404", http_response(page, status="404 Not Found")),
        dropped("gone", "http_status", "410", http_response(page, status="410 Gone")),
        dropped("moved", "http_status", "301", http_response(b"", status="301 Moved Permanently", headers=moved)),
        dropped("unavailable", "http_status", "503", http_response(page, status="503 Service Unavailable")),
        dropped("picture", "not_html", "an image", http_response(image, "image/png")),
        dropped("picture-as-page", "not_html", "an image that is called a page", http_response(image, "text/html")),
        dropped("data", "not_html", "JSON", http_response(b'{"flour": 12}', "application/json")),
        dropped("paper", "not_html", "a PDF", http_response(b"%PDF-1.7\n%%EOF\n", "application/pdf")),
        dropped("empty", "empty_text", "a page without text", http_response(b"<html><body></body></html>")),
        dropped("greeting", "short_text", "a page of two words", http_response(b"<html><p>Hello, world!</p></html>")),
        dropped("seen-before", "revisit", "a revisit", http_response(b"", status="304 Not Modified"), "revisit"),
        dropped("about-a-page", "metadata", "metadata", b"fetchTimeMs: 12\r\n", "metadata"),
        dropped("a-file", "resource", "a resource", b"body { color: black }", "resource"),
        dropped("extracted", "conversion", "an extracted text", b"A text that somebody extracted.", "conversion"),
        dropped("name-server", "not_http", "an answer of DNS", b"20240203\n127.0.0.1\n", uri="dns:mirror.demo.example"),
    ]


def _broken_messages() -> list[Planted]:
    """Complete records with broken HTTP messages."""
    page = render(own_page("en"))
    gzipped = encode_body(page, "gzip")
    chunked = http_response(page, chunked=True)
    middle = len(gzipped) // 2
    torn = torn_gzip(render(page_of("A long page", _texts(own_page("en")) * 4)))
    compressed = {"Content-Encoding": "gzip"}
    noise = b"<html><body><p>" + bytes((n * 37) % 32 + 0x80 for n in range(4000)) + b"</p></body></html>"
    deep = b"<html><body>" + b"<div>" * 6000 + page + b"</body></html>"

    def failed(name: str, reason: str, why: str, block: bytes) -> Planted:
        return Planted(name, MIRROR_FILE, f"source:failed:{reason}", why, block)

    cut = Planted("cut-by-crawler", MIRROR_FILE, KEPT, "cut, but the record says so", _cut_page(), truncated="length")
    return [
        failed("bad-chunk", "bad_chunking", "a chunk has another length", chunked.replace(b"5dc\r\n", b"5d0\r\n")),
        failed("cut-chunk", "truncated_body", "the last chunks are missing", chunked[:2500]),
        failed(
            "cut-gzip", "truncated_body", "half of it is missing", http_response(gzipped[:middle], headers=compressed)
        ),
        failed(
            "torn-gzip", "bad_content_encoding", "bytes in it were changed", http_response(torn, headers=compressed)
        ),
        failed(
            "new-encoding",
            "unsupported_content_encoding",
            "zstd is not read",
            http_response(b"\x28\xb5\x2f\xfd" + gzipped, headers={"Content-Encoding": "zstd"}),
        ),
        failed("no-status", "bad_http_header", "a body without a header", page),
        failed("noise", "undecodable", "bytes in no charset", http_response(noise, "text/html; charset=utf-8")),
        failed("too-deep", "extractor_error", "6,000 elements in each other", http_response(deep)),
        cut,
    ]


def _damaged() -> list[Planted]:
    """Records where the archive itself is damaged, with intact ones between them."""

    def broken(name: str, reason: str, why: str, damage: Damage) -> Planted:
        block = http_response(render(own_page("en")))
        return Planted(name, DAMAGED_FILE, f"source:failed:{reason}", why, block, damage=damage)

    good_night = _each(own_page("night"), lambda text: f"{text} Good night.")
    shortened = _each(own_page("lake"), lambda text: text.rsplit(" ", 1)[0])
    copied = "a longer one of its cluster is kept"
    return [
        broken("changed-bytes", "corrupt_member", "bytes of the compressed record were changed", "corrupt"),
        _page("after-damage", DAMAGED_FILE, KEPT, "reading goes on behind damage", good_night),
        broken("stray", "stray_bytes", "a compressed member that is no record", "stray_bytes"),
        broken("wrong-length", "bad_content_length", "it claims to be longer than it is", "wrong_length"),
        broken("wrong-checksum", "bad_checksum", "its checksum is that of other bytes", "wrong_checksum"),
        replace(_page("lake-shortened", DAMAGED_FILE, NEAR_DUPLICATE, copied, shortened), copy_of="lake"),
        broken("cut-off", "truncated", "the file ends inside it", "cut_off"),
    ]


def _url(file: str, name: str) -> str:
    """For example, a page of the site pages.demo.example for the file ``03-pages.warc.lz4``."""
    return f"https://{file.partition('-')[2].partition('.')[0]}.demo.example/{name}.html"


def _page(
    name: str,
    file: str,
    fate: str,
    why: str,
    page: Page,
    charset: str = "utf-8",
    encoding: ContentEncoding = "",
    chunked: bool = False,
) -> Planted:
    body = render(page, charset)
    block = http_response(body, f"text/html; charset={charset}", encoding=encoding, chunked=chunked)
    return Planted(name, file, fate, why, block)


def _copy(name: str, of: str, fate: str, why: str, page: Page) -> Planted:
    return replace(_page(name, MIRROR_FILE, fate, why, page), copy_of=of)


def _cut_page() -> bytes:
    lines = [f"{text} And the river ran on." for text in _texts(own_page("en"))[1:]]
    whole = http_response(render(page_of("A page too long", lines)), chunked=True)
    return whole[: len(whole) * 9 // 10]


def _texts(page: Page) -> list[str]:
    return [block.text for block in page.blocks]


def _each(page: Page, change: Callable[[str], str]) -> Page:
    """The page with every paragraph changed, so that none of its lines equals a line of the original."""
    return page_of(page.title, [change(text) for text in _texts(page)], page.language)
