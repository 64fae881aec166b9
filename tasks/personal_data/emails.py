"""Finds addresses of e-mail: the letters of RFC 5321 around an at sign, and a domain of a known top level."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.personal_data.found import Span
from tasks.text.urls import is_top_level

# RFC 5321, section 4.5.3.1, and RFC 1035, section 2.3.4: bytes.
_LONGEST_LOCAL, _LONGEST_DOMAIN = 64, 253
# RFC 5322, section 3.2.3 (atext), without those that stand before an address in other text, such as = in a query.
_LOCAL = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&*+?^_~-"
_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_WIDE_LABEL = rb"[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]{0,61}[A-Za-z0-9\x80-\xff])?"
# Domains of ASCII first: in Chinese, the next word begins behind one without a space.
_DOMAINS = tuple(re.compile(label + rb"(?:\." + label + rb")+") for label in (_LABEL, _WIDE_LABEL))
_OPENING = b".!#$%&*+?^~-"  # an address does not begin with them, other text around it does


def find_emails(text: bytes) -> Iterator[Span]:
    """The addresses of e-mail in a text. ``git@`` is the user of a repository, and a user of a URL is no address."""
    at = text.find(b"@")
    while at >= 0:
        before = text[max(0, at - _LONGEST_LOCAL - 1) : at]
        local = before[len(before.rstrip(_LOCAL)) :]
        fits = 0 < len(local) <= _LONGEST_LOCAL and not local.endswith(b".") and b".." not in local
        local = local.lstrip(_OPENING)
        for pattern in _DOMAINS if fits and local else ():
            found = pattern.match(text, at + 1, at + 1 + _LONGEST_DOMAIN)
            if found is not None and _is_address(text, at - len(local), found.end(), local, found.group()):
                yield Span(at - len(local), found.end())
                break
        at = text.find(b"@", at + 1)


def _is_address(text: bytes, start: int, end: int, local: bytes, domain: bytes) -> bool:
    of_url = text[max(0, start - 2) : start] == b"//" or (local == b"git" and text[end : end + 1] == b":")
    longer = text[end : end + 1] == b"@"
    # A domain that is cut within a character has no top level.
    return not of_url and not longer and is_top_level(domain.rpartition(b".")[2].decode(errors="replace").lower())
