"""Parses HTML pages as browsers do (WHATWG tree construction), and copies their trees to lxml."""

from __future__ import annotations

import re
from collections import Counter
from typing import cast

from lxml import etree
from lxml.html import HtmlElement
from resiliparse.parse.html import HTMLTree
from resiliparse.parse.html.node import ElementNode

from tasks.html.vocabulary import VOID
from tasks.sources.markup import MarkupLimit, check_markup

# Blink stops at this depth (kMaximumHTMLParserDOMTreeDepth).
MAX_DEPTH = 512
_TOKEN = re.compile(
    r"<(?:(/)?([^ \t\n\f\r/>!?][^ \t\n\f\r/>]*)"
    r"""((?: [^ \t\n\f\r/>][^ \t\n\f\r/>=]*="[^"]*")*)>"""
    r"|!--.*?-->|[!?][^>]*>)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r' ([^ \t\n\f\r/>][^ \t\n\f\r/>=]*)="([^"]*)"')
# An extractor may look at a link, or at a character, once for every element around it. Of 1,808 real pages, the largest
# have 30,000 links and 15 million characters, each counted as often as it is deep.
_MOST_DEEP_LINKS = 1_000_000
_MOST_DEEP_TEXT = 1_000_000_000
# These show their text as it is; extractors know only the last name.
_SYNONYMS = {"xmp": "pre", "listing": "pre", "plaintext": "pre"}
# Lexbor serialises the text of these elements without escapes.
_RAW = frozenset({"script", "style", "xmp", "iframe", "noembed", "noframes", "plaintext"})
_RAW_ELEMENTS = ",".join(sorted(_RAW))
_SHOWN = frozenset({"xmp", "plaintext"})
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINKED_DATA = "application/ld+json"
# NUL is in no tree: the tokenizer drops or replaces it.
_MARK = "\0"
_NOT_XML = re.compile("[\x00-\x08\x0b\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_BAD_NAME = re.compile("[&<>'\"{}\x00-\x20\ufffe\uffff]")
_ESCAPES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&nbsp;", "\xa0"), ("&amp;", "&"))
_PARSER = etree.HTMLParser(encoding="utf-8")
# Lxml's own look-up of an element's class is a function in Python that is called for each access; it differs in forms.
_PARSER.set_element_class_lookup(etree.ElementDefaultClassLookup(element=HtmlElement))


def parse_html(page: str, max_elements: int, utf_8: bytes | None = None) -> HTMLTree:
    """The tree of a page or a fragment, as browsers without scripting build it, without lone surrogates.

    `utf_8` is the page in UTF-8, where the caller has it. Raises MarkupLimit.
    """
    try:
        encoded = page.encode() if utf_8 is None else utf_8
    except UnicodeEncodeError:
        page = _SURROGATES.sub("", page)
        encoded = page.encode()
    check_markup(encoded, max_elements)
    return HTMLTree.parse(page)


def serialised(tree: HTMLTree, also: str = "template") -> tuple[str, list[ElementNode]]:
    """Lexbor's serialisation of the tree without templates, in which hidden raw texts are empty and shown ones escaped.

    The tree itself changes so. Raw texts could look like end tags, and those in templates are found by no selector.
    Returns the elements that the selector `also` finds, too: a search costs the same for one name and for many.
    """
    document = tree.document
    found: list[ElementNode] = []
    selector = f"template,{_RAW_ELEMENTS},{also}"
    for element in document.query_selector_all(selector).values() if document is not None else []:
        if element.tag == "template":
            element.decompose()
        elif element.tag in _RAW:
            shown = (element.text or "") if element.tag in _SHOWN else ""
            element.text = shown.replace("&", "&amp;").replace("<", "&lt;")
        else:
            found.append(element)
    return str(tree), found


def to_lxml(tree: HTMLTree, max_elements: int) -> HtmlElement:
    """The root element of a copy of the tree, with every text in document order, without comments.

    Lxml's own parser is not used, so its limits on depth and size do not apply. Three things differ from `tree`:
    Elements deeper than 512 become siblings, as in Blink. Characters that XML forbids (controls other than white space,
    U+FFFE, U+FFFF) are left out. Scripts, styles and other texts that browsers do not show are empty, except JSON-LD.
    The raw texts of `tree` itself are replaced. Raises MarkupLimit.
    """
    raw_texts = _take_raw_texts(tree)
    return _build(str(tree), raw_texts, max_elements)


def _take_raw_texts(tree: HTMLTree) -> list[str]:
    """Replace each raw text in the tree by a mark with its index in the list: it could look like an end tag."""
    texts: list[str] = []
    document = tree.document
    found = document.query_selector_all(_RAW_ELEMENTS).values() if document is not None else []
    for element in found:
        wanted = element.tag in _SHOWN or (element.getattr("type") or "").strip().lower() == _LINKED_DATA
        text = (element.text or "") if wanted else ""
        element.text = f"{_MARK}{len(texts)}"
        texts.append(text)
    return texts


def _build(source: str, raw_texts: list[str], max_elements: int) -> HtmlElement:
    """The tree of Lexbor's own serialisation, in which every element is closed and every value quoted."""
    root = _PARSER.makeelement("html")
    last, closed = root, False
    opened: list[tuple[str, HtmlElement]] = []
    names: Counter[str] = Counter()
    pieces: list[str] = []
    elements = position = deep_links = deep_text = 0
    for token in _TOKEN.finditer(source):
        start = token.start()
        if start < position:  # in a raw text
            continue
        if start > position:
            pieces.append(source[position:start])
        position = token.end()
        end, name, attributes = token.groups()
        if name is None or (end and not names[name]):
            continue
        depth = min(len(opened), MAX_DEPTH)
        if pieces:
            text = _unescaped("".join(pieces))
            _add_text(last, closed, text)
            deep_text += len(text) * depth
            pieces.clear()
        if end:
            passed = ""
            while passed != name:
                passed, element = opened.pop()
                names[passed] -= 1
                # Behind an element that is too deep, the last one that became its sibling is the place for text.
                last = element if len(opened) < MAX_DEPTH else last
            closed = True
            continue
        elements += 1
        if elements > max_elements:
            raise MarkupLimit(f"the parsed page has more than {max_elements} elements")
        deep_links += depth if name == "a" else 0
        last = _element(opened[depth - 1][1], name, attributes) if opened else root
        closed = name in VOID
        if not closed:
            opened.append((name, last))
            names[name] += 1
        if name in _RAW:
            position = _raw_end(name, source, position)
            raw = source[token.end() : position]
            if raw.startswith(_MARK):
                _add_text(last, closed, xml_text(raw_texts[int(raw[1:])]))
    if deep_links > _MOST_DEEP_LINKS or deep_text > _MOST_DEEP_TEXT:
        raise MarkupLimit(f"too many links ({deep_links}) or characters ({deep_text}), each counted as often as deep")
    return root


def _element(parent: HtmlElement, name: str, attributes: str) -> HtmlElement:
    named = {}
    if attributes:
        for key, value in _ATTRIBUTE.findall(attributes):
            if not _BAD_NAME.search(key):
                named[key] = _unescaped(value)
    tag = _SYNONYMS.get(name, name) if not _BAD_NAME.search(name) else "unknown"
    return cast(HtmlElement, etree.SubElement(parent, tag, named))


def _add_text(element: HtmlElement, closed: bool, text: str) -> None:
    if not text:
        return
    if closed and element.tail:
        etree.SubElement(cast(HtmlElement, element.getparent()), "span").text = text
    elif closed:
        element.tail = text
    else:
        element.text = text


def _raw_end(name: str, source: str, start: int) -> int:
    end = source.find(f"</{name}>", start)
    return len(source) if end < 0 else end


def _unescaped(source: str) -> str:
    """Undo the five escapes of the serialisation."""
    if "&" in source:
        for escape, character in _ESCAPES:
            source = source.replace(escape, character)
    return xml_text(source)


def xml_text(text: str) -> str:
    """The text without the characters that XML forbids."""
    return text if text.isprintable() else _NOT_XML.sub("", text.replace("\f", " "))
