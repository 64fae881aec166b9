"""One element ``page`` of a MediaWiki dump (schema 0.3 to 0.11, https://www.mediawiki.org/xml/)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.sources.xml_element import parse_element

_IN_PAGE = frozenset({"title", "ns", "id"})
_IN_REVISION = frozenset({"id", "timestamp", "model", "text"})


@dataclass(slots=True)
class Page:
    """A page and its last revision. What the dump does not tell is empty, or None."""

    title: str = ""
    ns: str = ""
    id: str = ""
    is_redirect: bool = False
    revision: str = ""
    timestamp: str = ""
    model: str = ""
    text: str | None = field(default=None, repr=False)
    is_deleted: bool = False


def read_page(data: bytes, encoding: str | None) -> Page:
    """Parse the element. Raises `tasks.sources.xml_element.XmlFault`."""
    handlers = _PageHandlers()
    parse_element(data, encoding, handlers.start, handlers.end, handlers.text)
    return handlers.page


class _PageHandlers:
    def __init__(self) -> None:
        self.page = Page()
        self._path: list[str] = []
        self._pieces: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._pieces.clear()
        if self._path == ["page", "redirect"]:
            self.page.is_redirect = True
        elif self._path == ["page", "revision"]:
            # Of a page with its history, the last revision counts.
            self.page.revision = self.page.timestamp = self.page.model = ""
            self.page.text, self.page.is_deleted = None, False
        elif self._path == ["page", "revision", "text"]:
            self.page.is_deleted = "deleted" in attributes

    def end(self, name: str) -> None:
        path, value = self._path, "".join(self._pieces)
        if len(path) == 2 and name in _IN_PAGE:
            setattr(self.page, name, value)
        elif len(path) == 3 and path[1] == "revision" and name in _IN_REVISION:
            setattr(self.page, "revision" if name == "id" else name, value)
        path.pop()
        self._pieces.clear()

    def text(self, data: str) -> None:
        self._pieces.append(data)
