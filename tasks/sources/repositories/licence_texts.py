"""Recognises licences by their texts, whole and word by word.

The texts are those of choosealicense.com, which the package identify carries. Words are compared in runs of three, so
that other holders, years, list marks and line ends make no difference, and a missing or an added clause does.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass

from identify.vendor.licenses import LICENSES

# A text that is a licence together with further conditions, or one that is not known.
OTHER = "LicenseRef-other"
_RUN = 3
# Of the runs of a licence, those that a text must have. The clause that MIT-0 lacks is 17 % of MIT. The authors of some
# BSD licences are "the author", which costs 14 %.
_LEAST = 0.85
_REACH = 1.5  # lengths of a licence, within which its runs stand
_NEW_RUNS = 0.5  # of a licence beside a longer one, such as BSD's two clauses in its three
# Words in a row that belong to no licence: with an obligation, such as BSD's clause on advertising (22 words), and with
# the mere mention of a licence, such as "is licensed under the terms of the MIT licence, reproduced below".
_LONGEST_OBLIGATION, _LONGEST_MENTION = 12, 60
_COPYRIGHT = re.compile(
    r"^[^\w\n]{0,20}(?:portions[ \t]++)?(?:copyright|\(c\)|©|all rights reserved)[^\n]{0,120}$",
    re.IGNORECASE | re.MULTILINE,
)
_WORD = re.compile(r"[a-z0-9]+")
_LIST_MARK = re.compile(r"^[ \t]*+(?:[#>*•-]+[ \t]*+|\(?(?:[0-9]{1,2}|[a-zA-Z])[.)][ \t]++)++", re.MULTILINE)
_OBLIGATION = re.compile(
    r"\b(?:must|shall|may not|not permitted|prohibit\w*|restrict\w*|advertis\w+|acknowledg\w+|(?:non)?commercial\w*"
    r"|does not grant|right to sell|additional (?:terms|conditions))\b"
)
_MENTION = re.compile(r"\b(?:licen[cs]e[ds]?|permi\w+|warrant\w+|copyright)\b")
_TERMS_END = re.compile(r"END OF TERMS AND CONDITIONS", re.IGNORECASE)
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*+([A-Za-z0-9.+() -]{2,100})")
# Notices that name a licence in place of its text.
_NOTICES = {
    "Apache-2.0": re.compile(
        r"\b(?:under|apache licen[cs]e)[^.]{0,60}\bapache\b[^.]{0,30}\b2|apache license version 2"
    ),
    "MIT": re.compile(r"\b(?:under|is) (?:the )?(?:terms of the )?mit(?: license)?\b"),
    "BSD-3-Clause": re.compile(r"\bunder (?:the )?(?:terms of the )?(?:3 clause bsd|bsd 3 clause|new bsd)\b"),
    "BSD-2-Clause": re.compile(r"\bunder (?:the )?(?:terms of the )?(?:2 clause bsd|bsd 2 clause|simplified bsd)\b"),
}
# Licences that headers name and that are none of these.
_FOREIGN = re.compile(
    r"general public license|\b[al]?gpl(?:v ?[123]|[123])?\b|mozilla public license|\bmpl\b|eclipse public license"
    r"|common development and distribution|creative commons|\bproprietary\b|\bconfidential\b|commercial license"
)
_CHOICE = re.compile(r"\b(?:dual|either|or|choice)\b")
_LONGEST_NOTICE = 200  # words


def licences_in(text: str) -> tuple[str, ...]:
    """The SPDX identifiers of the licences whose texts stand in `text`, sorted; `OTHER` where it says more than these.

    A short text may name its licence instead, or have the tag ``SPDX-License-Identifier``. Empty for a text that is
    about no licence.
    """
    words = _words(text)
    found, covered = _texts_in(words)
    if not found:
        return _named(text, words)
    return tuple(sorted({*found, OTHER} if _says_more(words, covered) else found))


def tagged_licence(text: str) -> str | None:
    """The expression of the tag ``SPDX-License-Identifier``, if `text` has one."""
    found = _TAG.search(text)
    return found[1].strip(" -") if found else None


@functools.lru_cache(maxsize=256)
def licence_in_header(header: str) -> str | None:
    """The SPDX expression that the header of a file states; None if it states none, as where it refers to a file."""
    if not _MENTION.search(header.lower()):
        return None
    words = _words(header)
    plain = " ".join(words)
    found = [licence for licence in _texts_in(words)[0] if licence != OTHER] or _notices_in(plain)
    other = _FOREIGN.search(plain) is not None and not any("GPL" in name or "MPL" in name for name in found)
    if other and found:
        return f"{found[0]} OR {OTHER}" if _CHOICE.search(plain) else f"{found[0]} AND {OTHER}"
    return OTHER if other else " AND ".join(found) or None


@dataclass(frozen=True, slots=True)
class _Template:
    """The runs of a licence, or, without `licence`, of instructions that follow one and say nothing new."""

    licence: str | None
    runs: frozenset[tuple[str, ...]]


@functools.cache
def _templates() -> list[_Template]:
    made: list[_Template] = []
    for licence, text in LICENSES:
        end = _TERMS_END.search(text)
        parts = [(licence, text)] if end is None else [(licence, text[: end.end()]), (None, text[end.end() :])]
        for name, part in parts:
            plain = re.sub(r"\[[^\]\n]*\]|<[^>\n]*>", " ", part)
            runs = frozenset(_runs(_words(plain)))
            if runs:
                made.append(_Template(name, runs))
    return made


@functools.cache
def _index() -> dict[tuple[str, ...], list[int]]:
    index: dict[tuple[str, ...], list[int]] = {}
    for number, template in enumerate(_templates()):
        for run in template.runs:
            index.setdefault(run, []).append(number)
    return index


def _texts_in(words: list[str]) -> tuple[list[str], list[bool]]:
    """The licences whose texts stand in a text, sorted, and for each word whether it belongs to one."""
    runs = _runs(words)
    places: dict[tuple[str, ...], list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(run, []).append(place)
    hits = Counter(number for run in places for number in _index().get(run, ()))
    templates = _templates()
    near = {
        number: _most_near(templates[number], places)
        for number, count in hits.items()
        if count >= _LEAST * len(templates[number].runs)
    }
    found: set[str] = set()
    covered = [False] * len(words)
    # The licence that explains most of the text comes first: three clauses before two, Apache before its relatives.
    for number in sorted(near, key=lambda number: -(near[number] ** 2) / len(templates[number].runs)):
        template = templates[number]
        own = [place for run in template.runs for place in places.get(run, ())]
        few_new = sum(not covered[place] for place in own) < _NEW_RUNS * len(own)
        if near[number] < _LEAST * len(template.runs) or few_new:
            continue
        if template.licence is not None:
            found.add(template.licence)
        for place in own:
            covered[place : place + _RUN] = [True] * _RUN
    return sorted(found), covered


def _most_near(template: _Template, places: dict[tuple[str, ...], list[int]]) -> int:
    """The most runs of a licence that stand near each other in a text: a mixture of others may have all of them."""
    events = sorted((place, run) for run in template.runs for place in places.get(run, ()))
    reach = _REACH * (len(template.runs) + _RUN)
    inside: Counter[tuple[str, ...]] = Counter()
    first = most = distinct = 0
    for place, run in events:
        distinct += inside[run] == 0
        inside[run] += 1
        while events[first][0] < place - reach:
            inside[events[first][1]] -= 1
            distinct -= inside[events[first][1]] == 0
            first += 1
        most = max(most, distinct)
    return most


def _words(text: str) -> list[str]:
    plain = _LIST_MARK.sub("", _COPYRIGHT.sub("", text)).lower().replace("licence", "license")
    return _WORD.findall(plain.replace("http://", "https://"))


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(_RUN))))


def _says_more(words: list[str], covered: list[bool]) -> bool:
    rest: list[str] = []
    for word, known in zip([*words, ""], [*covered, True], strict=True):
        if not known:
            rest.append(word)
            continue
        plain = " ".join(rest)
        if len(rest) > _LONGEST_OBLIGATION and _OBLIGATION.search(plain):
            return True
        if len(rest) > _LONGEST_MENTION and _MENTION.search(plain):
            return True
        rest = []
    return False


def _named(text: str, words: list[str]) -> tuple[str, ...]:
    if len(words) <= _LONGEST_NOTICE:
        tag = tagged_licence(text)
        if tag is not None:
            return (tag,)
        plain = " ".join(words)
        names = _notices_in(plain)
        if len(names) == 1:
            return tuple(names)
    return (OTHER,) if _MENTION.search(" ".join(words)) else ()


def _notices_in(plain: str) -> list[str]:
    return [name for name, pattern in sorted(_NOTICES.items()) if pattern.search(plain)]
