"""Preferences of use in robots.txt: the rules ``Content-Usage``, and Cloudflare's ``Content-Signal``.

Content-Usage: draft-ietf-aipref-attach, section 3 (August 2026). Content-Signal: contentsignals.org, with ``ai-train``
for ``train-ai`` and ``yes`` and ``no``. Groups, agents and paths are protego's: the rules for one category become rules
that forbid a path, and protego is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from protego import Protego

from tasks.rights.mining import CATEGORIES, usage_of

_LINE = re.compile(r"([^:#]*+):([^#]*+)")
_AGENT = re.compile(r"user[ -]?agent\b", re.IGNORECASE)
_NOT_IN_GROUPS = ("sitemap", "sitemaps", "site-map", "host")
_OTHER_RULE = "Allow:"  # without a value it is no rule, but it ends the agents of a group, as any rule does
_SIGNALS = {"ai-train": "train-ai", "search": "search"}
_SAID = {"yes": True, "no": False}


class UsageRules:
    """The preferences in a text. Most texts have none, and cost one search."""

    def __init__(self, text: str) -> None:
        self._rules: dict[str, tuple[Protego, Protego]] = {}
        if not re.search(r"content-(?:usage|signal)", text, re.IGNORECASE):
            return
        lines = [_read(line) for line in text.splitlines()]
        for category in CATEGORIES:
            if any(category in said for _, _, said in lines):
                no, yes = (Protego.parse("\n".join(_rules(lines, category, forbids))) for forbids in (False, True))
                self._rules[category] = (no, yes)

    def preference(self, category: str, url: str, agents: Iterable[str]) -> bool | None:
        """Whether a use is allowed, to all `agents` for which something is said; None where nothing is."""
        if category not in self._rules:
            return None
        no, yes = self._rules[category]
        said = [
            forbidden is False
            for agent in agents
            for forbidden, rules in ((True, no), (False, yes))
            if not rules.can_fetch(url, agent)
        ]
        return all(said) if said else None


def _read(line: str) -> tuple[str, str, dict[str, bool]]:
    """A line as it goes on to protego, the path of its preferences, and these."""
    found = _LINE.match(line)
    field, value = (found[1].strip().lower(), found[2].strip()) if found else ("", "")
    if _AGENT.match(line.strip()):
        return line, "", {}
    if field in ("content-usage", "content-signal"):
        path, _, rest = value.partition(" ") if value.startswith("/") else ("/", "", value)
        return _OTHER_RULE, path, usage_of(rest.strip()) if field == "content-usage" else _signals(rest)
    return _OTHER_RULE if field and field not in _NOT_IN_GROUPS else "", "", {}


def _signals(value: str) -> dict[str, bool]:
    pairs = (part.partition("=") for part in value.lower().split(","))
    return {
        _SIGNALS[name.strip()]: _SAID[said.strip()]
        for name, _, said in pairs
        if name.strip() in _SIGNALS and said.strip() in _SAID
    }


def _rules(lines: Iterable[tuple[str, str, dict[str, bool]]], category: str, forbids: bool) -> Iterable[str]:
    """The text in which a preference of `forbids` forbids its path, and the other one allows it."""
    for line, path, said in lines:
        if category not in said:
            yield line
        else:
            yield f"{'Disallow' if said[category] is forbids else 'Allow'}: {path}"
