"""The licence that a page declares of itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tasks.rights.said import Said, said_in

_CREATIVE_COMMONS = re.compile(
    # Archives of the web put their own address before it.
    r"(?:https?://web\.archive\.org/web/\w++/)?(?:https?:)?//(?:[a-z]+\.)?creativecommons\.org/"
    r"(licenses|publicdomain)/([a-z]+(?:-[a-z]+)*)/([0-9.]+)?(?:[/?#]|$)",
    re.IGNORECASE,
)
# https://creativecommons.org/publicdomain/
_PUBLIC_DOMAIN = {"zero": "CC0", "mark": "Public Domain Mark"}
_DECLARING = ("license", "dc.license", "dc:license", "dc.rights.license", "dcterms.license", "dcterms:license")
_ABOUT_RIGHTS = ("dc.rights", "dc:rights", "dcterms.rights", "dcterms:rights")
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)


def declared_licence(metadata: Mapping[str, object]) -> str | None:
    """The licence of a document with these metadata; None without one, or where two are declared."""
    return licence_of(said_in(metadata)[0])


def licence_of(said: Iterable[Said]) -> str | None:
    """The one licence that is declared: by a link with the relation ``license``, or a meta element of Dublin Core.

    A licence of Creative Commons has its name, such as ``CC BY-SA 4.0``; another one its address. Other links to
    licences may be about a picture, and count as nothing. Neither does a statement of rights without an address.
    """
    found = {name for one in said if (name := _declared(one)) is not None}
    return found.pop() if len(found) == 1 else None


def creative_commons(address: str) -> str | None:
    """The name of the licence of Creative Commons at an address, without its jurisdiction; None for other addresses."""
    found = _CREATIVE_COMMONS.match(address)
    if found is None:
        return None
    kind, code, version = found[1].lower(), found[2].lower(), found[3]
    name = f"CC {code.upper()}" if kind == "licenses" else _PUBLIC_DOMAIN.get(code)
    return name and (f"{name} {version}" if version else name)


def _declared(one: Said) -> str | None:
    if one.place == "mention" or one.name not in _DECLARING + _ABOUT_RIGHTS:
        return None
    address = _ADDRESS.match(one.value)
    if address is None:
        return creative_commons(one.value)
    named = creative_commons(address[0])
    return named or (address[0] if one.name in _DECLARING else None)
