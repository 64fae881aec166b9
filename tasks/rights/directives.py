"""Directives for robots: what ``X-Robots-Tag`` and the meta elements ``robots`` and of named agents say.

After Google (developers.google.com/search/docs/crawling-indexing/robots-meta-tag): directives are a list, and in a
header the name of an agent may stand before it, with a colon.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from tasks.rights.said import Said

FLAGS = ("noindex", "nofollow", "noarchive", "nosnippet", "noimageindex", "notranslate", "noai", "noimageai")
# Directive → the flags that it sets, and whether it forbids.
_MEANING: dict[str, tuple[tuple[str, ...], int]] = {
    **{flag: ((flag,), 1) for flag in FLAGS},
    "none": (("noindex", "nofollow"), 1),
    "nocache": (("noarchive",), 1),
    **{flag.removeprefix("no"): ((flag,), 0) for flag in FLAGS if not flag.endswith("ai")},
    "all": (("noindex", "nofollow"), 0),
}
_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
_NO_AGENTS = ("tdm-", "dc.", "dc:", "dcterms.", "dcterms:")  # names of other meta elements
_TOKEN = re.compile(r"([A-Za-z0-9_.*-]++)[ \t]*+(:?+)")


def flags_of(said: Iterable[Said], agents: Collection[str]) -> dict[str, int]:
    """Flag → 1 where it is forbidden and 0 where it is allowed in so many words; not there where nothing is said.

    Counted is what is said to all robots, and to `agents` (lower case).
    """
    found: dict[str, int] = {}
    for one in said:
        for agent, directive, value in _directives(one):
            if agent is not None and agent not in agents:
                continue
            flags, forbidden = _MEANING.get(directive, ((), 0))
            if directive == "max-snippet" and value == "0":  # as nosnippet
                flags, forbidden = ("nosnippet",), 1
            found |= {flag: max(forbidden, found.get(flag, 0)) for flag in flags}
    return found


def _directives(one: Said) -> Iterator[tuple[str | None, str, str]]:
    """The agent (None for all), the directive and its value, in lower case."""
    if one.place == "meta" and not one.name.startswith(_NO_AGENTS):
        agent = None if one.name == "robots" else one.name
    elif one.place == "header" and one.name == "x-robots-tag":
        agent = None
    else:
        return
    tokens = [(found[1].lower(), bool(found[2])) for found in _TOKEN.finditer(one.value)]
    for number, (token, colon) in enumerate(tokens):
        # The times of `unavailable_after` have colons, too.
        if colon and one.place == "header" and token not in _WITH_VALUE and not token[0].isdigit():
            agent = None if token == "*" else token
            continue
        value = tokens[number + 1][0] if colon and number + 1 < len(tokens) else ""
        yield agent, token, value
