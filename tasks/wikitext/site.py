"""What a dump says of its wiki: its name, its language, its address, and its namespaces."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from tasks.wikitext.languages import ALIASES, CANONICAL, WITH_VARIANTS

_HIDDEN = frozenset(CANONICAL.values())
_LANGUAGE = re.compile(r"<mediawiki\s[^<>]*?\bxml:lang\s*=\s*[\"']([\w-]+)[\"']")
_OLD = re.compile(r"<mediawiki\s[^<>]*?\bversion\s*=\s*[\"']0\.[1-3][\"']")
_BASE = re.compile(r"<base>([^<>]*)</base>")
_NAME = re.compile(r"<dbname>\s*([\w-]+)\s*</dbname>")
_NAMESPACE = re.compile(r"<namespace\s[^<>]*?\bkey\s*=\s*[\"'](-?\d{1,6})[\"'][^<>]*?(?:/>|>([^<>]*)</namespace>)")
# As MediaWiki encodes titles in addresses (wfUrlencode).
_PLAIN_IN_ADDRESSES = ";@$!*(),/~:"


@dataclass(frozen=True, slots=True)
class Site:
    """A wiki. `hidden` are the names, in lower case, of namespaces whose links show nothing: files and categories.

    `marks_redirects`: its pages tell that they are redirects, as all do since version 0.4 of the schema.
    """

    name: str = "wiki"
    language: str | None = None
    address: str | None = None
    hidden: frozenset[str] = frozenset(CANONICAL)
    namespaces: dict[str, int] = field(default_factory=dict)
    marks_redirects: bool = True

    @property
    def has_variants(self) -> bool:
        """Whether the wiki converts its texts between scripts or spellings."""
        return self.language in WITH_VARIANTS

    def url(self, title: str) -> str | None:
        """The address of a page; None if the dump does not tell the wiki's."""
        place = quote(title.replace(" ", "_"), safe=_PLAIN_IN_ADDRESSES)
        return None if self.address is None else f"{self.address}{place}"

    def namespace(self, title: str) -> int:
        """The namespace that a title names: for dumps whose pages do not tell it."""
        name, colon, rest = title.partition(":")
        return self.namespaces.get(name, 0) if colon and not rest.startswith(" ") else 0


def read_site(head: str) -> Site:
    """The wiki that the head of a dump describes (the root's start tag and the element ``siteinfo``).

    A part of a dump may lack both: then only the English names of namespaces are known, and those of no language.
    """
    base = _first(_BASE, head)
    name = _first(_NAME, head)
    language = _first(_LANGUAGE, head) or _of_address(base) or _of_name(name)
    found = {(html.unescape(text or "")).strip(): int(key) for key, text in _NAMESPACE.findall(head)}
    hidden = {*CANONICAL, *(folded(text) for text, key in found.items() if key in _HIDDEN and text)}
    for words in ALIASES.get(language or "", {}).values():
        hidden.update(map(folded, words.split("|")))
    address = base[: base.rfind("/") + 1] if base and base.startswith(("http://", "https://")) else None
    spaces = {text: key for text, key in found.items() if text}
    marks = _OLD.search(head) is None
    return Site(name or language or "wiki", language, address, frozenset(hidden), spaces, marks)


def folded(name: str) -> str:
    """A namespace as links are compared: without regard to case, and underscores as spaces."""
    return " ".join(name.replace("_", " ").split()).casefold()


def _first(pattern: re.Pattern[str], head: str) -> str | None:
    found = pattern.search(head)
    return html.unescape(found[1]).strip() if found else None


def _of_address(base: str | None) -> str | None:
    found = re.match(r"https?://([a-z-]+)\.wikipedia\.", base or "")
    return found[1] if found else None


def _of_name(name: str | None) -> str | None:
    return name.removesuffix("wiki").replace("_", "-") if name and name.endswith("wiki") else None
