"""Finds IP addresses that can be those of a person: addresses of the public internet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from tasks.personal_data.found import Span

# No part of a longer number or name, of a path, or of a version such as 1.2.3.4-rc1 or 1.2.3.4.5. What stands before is
# looked at behind the first character: patterns that begin with a character are found faster.
_VERSION_4 = re.compile(rb"[0-9](?<![\w.\-].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![\w\-]|\.\w)")
# Public addresses begin with 2 or 3 (2000::/3, RFC 4291 and the registry of IANA).
_VERSION_6 = re.compile(rb"[23](?<![\w.:].)[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])")
# What stands before a version, within so many bytes.
_BEFORE = 16
_OF_VERSION = re.compile(
    rb"(?:\b(?:v|ver|version|release|build|firmware|kernel|driver|section|chapter|clause|article|rev|revision|oid)"
    rb"[\s.:=#\"'(]*|/)\Z",
    re.IGNORECASE,
)


def find_ip_addresses(text: bytes) -> Iterator[Span]:
    """The public addresses of versions 4 and 6 in a text.

    Private, reserved and documentation addresses name nobody. Four one-digit numbers, and those behind a word such as
    ``version`` or behind a slash, number something else.
    """
    if text.count(b".") >= 3:
        for found in _VERSION_4.finditer(text):
            if _is_public(found.group()) and not _is_version(text, found.start(), found.group()):
                yield Span(*found.span())
    if text.count(b":") >= 2:
        for found in _VERSION_6.finditer(text):
            if _is_public(found.group()):
                yield Span(*found.span())


def _is_public(written: bytes) -> bool:
    try:
        return ipaddress.ip_address(written.decode()).is_global
    except ValueError:
        return False


def _is_version(text: bytes, start: int, written: bytes) -> bool:
    # Of the addresses of version 4, one in 400,000 has four one-digit numbers; of versions and sections most do.
    of_url = text[max(0, start - 3) : start] == b"://"
    return len(written) == 7 or (not of_url and _OF_VERSION.search(text[max(0, start - _BEFORE) : start]) is not None)
