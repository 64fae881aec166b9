"""What the markup of a page says of rights: its meta elements for robots and for mining, and its links to licences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from resiliparse.parse.html import HTMLTree
from resiliparse.parse.html.node import ElementNode

# Finds few elements that say nothing: a page has 30 meta elements, and to make an object of each costs as much as the
# search.
SAYING = (
    'meta:is([name*="bot" i],[name^="tdm-" i],[name*="license" i],[name*="rights" i],'
    '[content*="noindex" i],[content*="nofollow" i],[content*="noarchive" i],[content*="nosnippet" i],'
    '[content*="noai" i],[content*="noimage" i]),'
    ':is(link,a,area):is([rel~="license" i],[itemprop~="license" i],[href*="creativecommons.org/" i])'
)
_META_NAME = re.compile(
    r"robots|[a-z0-9._-]*bot(?:-[a-z]+)?|tdm-(?:reservation|policy)|(?:dc|dcterms)[.:](?:rights|license|rights\.license)"
)
_AGENT = re.compile(r"[a-z0-9._-]+")
_DIRECTIVES = re.compile(
    r"\s*+(?:(?:no)?(?:index|follow|archive|cache|snippet|imageindex|translate|ai|imageai|odp|ydir)|all|none)"
    r"(?:[\s,;]++(?:(?:no)?(?:index|follow|archive|cache|snippet|imageindex|translate|ai|imageai|odp|ydir)|all|none))*+"
    r"[\s,;]*+",
    re.IGNORECASE,
)
_CREATIVE_COMMONS = re.compile(r"\s*(?:https?:)?//(?:[a-z]+\.)?creativecommons\.org/(?:licenses|publicdomain)/", re.I)


def saying_elements(tree: HTMLTree) -> list[ElementNode]:
    """The elements of a page that may say something."""
    document = tree.document
    return [] if document is None else list(document.query_selector_all(SAYING).values())


def said_by(elements: Iterable[ElementNode]) -> Iterator[tuple[str, str]]:
    """Each thing that elements which `SAYING` selects say, as its place and name, and its value as written.

    ``meta NAME``: the content of a meta element for robots, for an agent (its name contains ``bot``, or its content is
    directives for robots), for text and data mining, or of Dublin Core. ``link license``: the target of a link with the
    relation or the item property ``license``. ``mention license``: that of any other link to a licence of Creative
    Commons.
    """
    for element in elements:
        if element.tag == "meta":
            name = (element.getattr("name") or "").strip().lower()
            value = element.getattr("content") or ""
            if _META_NAME.fullmatch(name) or (_AGENT.fullmatch(name) and _DIRECTIVES.fullmatch(value)):
                yield f"meta {name}", value
            continue
        target = element.getattr("href") or ""
        relations = f"{element.getattr('rel') or ''} {element.getattr('itemprop') or ''}".lower().split()
        if "license" in relations and target.strip():
            yield "link license", target
        elif _CREATIVE_COMMONS.match(target):
            yield "mention license", target
