"""Text and data mining: the reservation of TDMRep, and the preferences of ``Content-Usage``.

TDMRep: the final report of the W3C community group of 10 May 2024 (w3.org/community/reports/tdmrep).
Content-Usage: draft-ietf-aipref-attach and draft-ietf-aipref-vocab, both work in progress, as of August 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.rights.said import Said

CATEGORIES = ("train-ai", "search")
# A dictionary of structured fields (RFC 9651 section 4.2.2), of which only tokens as values have a meaning here.
_ITEM = r"""(?:"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"|\?[01]|-?[0-9]++(?:\.[0-9]++)?|@-?[0-9]++"""
_ITEM += r"""|:[A-Za-z0-9+/=]*+:|[A-Za-z*][\w!#$%&'*+.^`|~:/-]*+)"""
_KEY = r"[a-z*][a-z0-9_.*-]*+"
_PARAMETERS = rf"(?:;[ ]*+{_KEY}(?:={_ITEM})?+)*+"
_LIST = rf"\((?:[ ]*+{_ITEM}{_PARAMETERS}(?=[ )]))*+[ ]*+\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_ITEM}|{_LIST}))?+{_PARAMETERS}(?:[ \t]*+,[ \t]*+(?=[a-z*])|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reservation:
    """`reserved` is None where nothing valid is said. A policy counts only where rights are reserved."""

    reserved: bool | None = None
    policy: str | None = None


def reservation_of(said: Iterable[Said], before: Reservation = Reservation()) -> Reservation:
    """What is said in headers, and above it in meta elements (section "Processing priority"); `before` stands below.

    A value other than 0 and 1 is as none.
    """
    values: dict[tuple[str, str], str] = {}
    for one in said:
        if one.place in ("header", "meta") and one.name.startswith("tdm-"):
            values.setdefault((one.place, one.name), one.value)
    found = before
    for place in ("header", "meta"):
        found = above(found, values.get((place, "tdm-reservation")), values.get((place, "tdm-policy")))
    return found


def above(before: Reservation, reservation: str | None, policy: str | None) -> Reservation:
    """What holds when a place with more weight says this: what it leaves out stays as it was before."""
    reserved = {"0": False, "1": True}.get(reservation or "", before.reserved)
    return Reservation(reserved, (policy or before.policy) if reserved else None)


def usage_of(value: str) -> dict[str, bool]:
    """Category → whether its use is allowed (``train-ai=y``), of a field ``Content-Usage``.

    A category without a preference is not there. A value that is no dictionary says nothing. Of equal keys the last
    counts.
    """
    values: dict[str, str | None] = {}
    position = 0
    while position < len(value):
        member = _MEMBER.match(value, position)
        if member is None:
            return {}
        values[member[1]] = member[2]
        position = member.end()
    return {name: values[name] == "y" for name in CATEGORIES if values.get(name) in ("y", "n")}
