"""Wikitext without its markup: the text that a reader of the page sees, a paragraph, a heading or an item per line.

Left out are templates, tables, references, comments, files, categories, links to other languages, and the marks of
links, headings, emphasis and HTML. The text in ``nowiki``, ``code``, ``syntaxhighlight``, ``source``, ``pre`` and
``math`` stays as it is. The rules are those of MediaWiki's parser (`includes/parser/Parser.php`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.wikitext.nesting import BREAK, CLOSE, GONE, JOINT, OPEN, flatten, resolve
from tasks.wikitext.site import Site

_LIST = re.compile(r"[*#:;]+")
_BEHIND_LIST = re.compile(rf"[*#:;|!\s{GONE}{JOINT}{BREAK}]*+$")
# Behaviour switches, such as __NOTOC__, in the words of any language.
_SWITCH = re.compile(r"__[^\W\d_]++(?:_[^\W\d_]++)*+__")
_QUOTES = re.compile("''+")
_VARIANT = re.compile(r"-\{([^{}]*+)\}-")
_FLAGS = re.compile(r"\s*(?:([-+A-Z;\s]*+)\|)?(.*)", re.DOTALL)
_CODE = re.compile(r"^\s*[a-z]{2,3}(?:-[a-z]+)*\s*:\s*", re.MULTILINE)
# What is left of words in brackets, and of spaces, where something was taken out.
_EMPTY_BRACKETS = re.compile(rf"\((?:[ \xa0,;:/]*+{GONE})+[ \xa0,;:/]*+\)")
_AFTER_BRACKET = re.compile(rf"\((?:[ \xa0,;:/]*+{GONE})+[ \xa0,;:/]*+")
_BEFORE_BRACKET = re.compile(rf"(?<![ \xa0,;:/{GONE}])(?:[ \xa0,;:/]*+{GONE})+[ \xa0,;:/]*+\)")
_PLACE = re.compile(rf"(?<! )(?: *+{GONE})+ *+")
_KEPT = re.compile(rf"{OPEN}(\d+){CLOSE}")
# Rests of broken markup, whose parts may meet where something between them was taken out.
_BRACKETS = re.compile(rf"[\[{{<][\[{{<{GONE}]*+(/?{GONE}*+ref)?", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_MARKS = re.compile(f"[{GONE}{OPEN}{CLOSE}{JOINT}{BREAK}]")


@dataclass(frozen=True, slots=True)
class PlainText:
    """A page's text, and how many brackets and elements in it were never closed."""

    text: str = field(repr=False)
    unclosed: int


def plain_text(wikitext: str, site: Site) -> PlainText:
    """The text of a page. The time is linear in its size. Raises TooNested."""
    flat = flatten(_MARKS.sub("", wikitext), site)
    text = "\n".join(line for lines in map(_shown, flat.text.split("\n")) for line in lines)
    if site.has_variants:
        text = _VARIANT.sub(_variant, text)
    for pattern, replacement in ((_EMPTY_BRACKETS, GONE), (_AFTER_BRACKET, "("), (_BEFORE_BRACKET, ")")):
        text = pattern.sub(replacement, text)
    text = _PLACE.sub(_space, _BRACKETS.sub(_without_rests, text))
    text = resolve(text)
    text = _KEPT.sub(lambda found: flat.kept[int(found[1])], _BLANK_LINES.sub("\n\n", text))
    return PlainText(text.strip("\n"), flat.unclosed)


def _shown(line: str) -> list[str]:
    """The lines that stand for a line of wikitext: none where nothing is left of its markup."""
    if (GONE in line or JOINT in line or BREAK in line) and _BEHIND_LIST.match(line):
        return []
    line = line.rstrip(" \t\r")
    heading = line.rstrip(" \t" + GONE + JOINT)
    if len(heading) > 2 and heading.startswith("=") and heading.endswith("="):
        return ["", _heading(heading), ""]
    if line.startswith("----"):
        line = line.lstrip("-")
    if marks := _LIST.match(line):
        line = line[marks.end() :].strip(" \t")
        if not line:
            return []
        depth = sum(mark in "*#" for mark in marks[0])
        line = "  " * (depth - 1) + "- " + line if marks[0][-1] in "*#" else line
    if "__" in line:
        line = _SWITCH.sub(lambda found: GONE if found[0].isupper() else found[0], line)
        if not line.strip(GONE + JOINT + " "):
            return []
    line = _without_quotes(line) if "''" in line else line
    return line.replace(JOINT, "").split(BREAK)


def _heading(line: str) -> str:
    """A heading has as many equals signs as both sides have, at most six."""
    level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
    if level * 2 >= len(line):
        level = max((len(line) - 1) // 2, 0)
    return _without_quotes(line[level : len(line) - level]).replace(JOINT, "").replace(BREAK, " ").strip()


def _without_quotes(line: str) -> str:
    """The line without the marks of italics (two apostrophes) and bold (three), as `Parser::doQuotes` sees them.

    An apostrophe of the text may stand before a mark: the first of four, and all but the last five of more. Where both
    marks occur an odd number of times, one of the marks of bold is an apostrophe and a mark of italics, as in
    ``l'''arbre''``: one behind a single letter, else behind a word, else behind a space.
    """
    runs = list(_QUOTES.finditer(line))
    sizes = [len(run[0]) for run in runs]
    marks = [3 if size == 4 else min(size, 5) for size in sizes]
    extra = [size - mark for size, mark in zip(sizes, marks)]
    if sum(mark in (2, 5) for mark in marks) % 2 and sum(mark in (3, 5) for mark in marks) % 2:
        bold = [number for number, mark in enumerate(marks) if mark == 3]
        if bold:
            extra[min(bold, key=lambda number: _before(line, runs[number].start() + extra[number]))] += 1
    pieces, position = [], 0
    for run, apostrophes in zip(runs, extra):
        pieces += [line[position : run.start()], "'" * apostrophes]
        position = run.end()
    return "".join([*pieces, line[position:]])


def _before(line: str, start: int) -> int:
    """What stands before a mark: 0 for a single letter, 1 for a longer word, 2 for a space."""
    if line[start - 1 : start] in ("", " "):
        return 2
    return 0 if start < 2 or line[start - 2] == " " else 1


def _variant(found: re.Match[str]) -> str:
    """The text of ``-{flags|text}-``: hidden for rules and titles, the first variant where there are several."""
    parts = _FLAGS.fullmatch(found[1])
    if parts is None or set(parts[1] or "") & set("HT-"):
        return GONE
    variants = [text for text in parts[2].split(";") if _CODE.match(text)]
    return _CODE.sub("", variants[0], count=1).strip() if variants else parts[2]


def _without_rests(found: re.Match[str]) -> str:
    """Brackets that stand together: none where they look like the start of markup."""
    brackets = found[0].removesuffix(found[1] or "").replace(GONE, "")
    is_start = "[[" in brackets or "{{" in brackets or (brackets.endswith("<") and found[1])
    return GONE + (found[1] or "") if is_start else found[0]


def _space(found: re.Match[str]) -> str:
    """What stands between the words around a place where something was."""
    text = found.string
    following = text[found.end() : found.end() + 1]
    outside = found.start() == 0 or text[found.start() - 1] in "\n(" or following in ("", "\n", *".,;:!?)")
    return " " if " " in found[0] and not outside else ""
