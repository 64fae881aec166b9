"""Removes licence and copyright headers from source files: comments only, at the beginning only, by their words."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEAD = 64 << 10  # characters in which a header is looked for
_MOST_BLOCKS = 10
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# Lines before a header that belong to the program: of the shell, the encoding, the language, the editor.
_PROLOGUE = re.compile(
    r"\ufeff?[ \t]*(?:#!|<\?|<!doctype|@echo|:: |#.{0,10}\bcoding[:=]|[#/%;*-]{1,3}[ \t]*-\*-|/\*[ \t]*-\*-.*\*/|"
    r"[#/%;\"-]{1,3}[ \t]*vim?:|#[ \t]*frozen_string_literal|#[ \t]*syntax[ \t]*=|//[ \t]*@(?:ts|flow)|\"use strict\"|"
    r"---[ \t]*\r?$)",
    re.IGNORECASE | re.MULTILINE,
)
# Of a comment, but read by programs.
_DIRECTIVE = re.compile(
    r"(?:go:|\+build\b|-\*-|vim?:|coding[:=]|eslint|jshint|@ts-|@flow|@jsx|pylint:|flake8|noqa|clang-format|istanbul|"
    r"cython:|distutils:|mypy:|type:|ruff|isort:|rubocop|frozen_string_literal|shellcheck|requires |usage:)",
    re.IGNORECASE,
)
# Languages in which # begins no comment; for unknown ones, what it begins in C.
_NO_HASH = frozenset(
    (
        *(
            "c",
            "h",
            "cc",
            "hh",
            "cpp",
            "hpp",
            "cxx",
            "hxx",
            "c++",
            "h++",
            "ipp",
            "inl",
            "inc",
            "m",
            "mm",
            "cs",
            "cu",
            "cuh",
        ),
        *("ino", "y", "yy", "l", "ll", "glsl", "vert", "frag", "comp", "hlsl", "cl", "metal", "s", "asm", "fpp", "idl"),
        *(
            "rs",
            "js",
            "mjs",
            "cjs",
            "jsx",
            "ts",
            "tsx",
            "java",
            "go",
            "kt",
            "kts",
            "scala",
            "swift",
            "dart",
            "css",
            "scss",
        ),
        *("less", "html", "htm", "xml", "svg", "vue", "sql", "lua", "hs", "ml", "mli", "tex", "vb", "f", "f90", "json"),
    )
)
_PREPROCESSOR = re.compile(r"#(?:include|define|undef|if|ifdef|ifndef|elif|else|endif|pragma|import|error)\b|#!?\[|#!")
_PAIRS = (("/*", "*/"), ("<!--", "-->"), ("(*", "*)"), ("{-", "-}"), ("<#", "#>"), ("--[[", "]]"), ("--[==[", "]==]"))
_PROSE = frozenset(("md", "markdown", "mdown", "rst", "txt", "adoc", "asciidoc", "org", "textile", "wiki", "pod"))
_PROSE_NAMES = re.compile(r"(?:readme|changelog|changes|news|history|contributing|authors|install|todo|notice)\b", re.I)
# What begins a comment only in some languages: by the ending of the file.
_BY_ENDING = {
    "--": "sql lua hs lhs ada adb ads vhd vhdl elm purs applescript",
    ";": "asm s el lisp lsp scm clj cljs ini cfg nsi ll reg ahk",
    "%": "tex sty cls bib m erl hrl pl pro ps latex",
    "!": "f90 f95 f03 f08 f for ftn",
    "'": "vb vbs bas cls frm",
    '"': "vim",
    "REM": "bat cmd",
    "rem": "bat cmd",
    "dnl": "m4 ac",
    "c ": "f for f77 ftn",
    "C ": "f for f77 ftn",
}
_ENDINGS = {mark: frozenset(endings.split()) for mark, endings in _BY_ENDING.items()}
_COPYRIGHT = re.compile(
    r"\bcopyright\b[ \t,:]*+(?:\(c\)|©|&copy;|\d{4}|by\b|(?-i:[A-Z<\[]))|\(c\)[ \t]*+(?:copyright|\d{4})|©|&copy;"
    r"|\ball rights reserved\b|\bspdx-(?:license-identifier|filecopyrighttext|copyright)|@licen[cs]e\b|@copyright\b"
    r"|^\W*licen[cs]e[ \t]*+:",
    re.IGNORECASE,
)
_LICENCE = re.compile(
    r"licen[cs]ed (?:under|to)|permission is hereby granted|permission to use, copy|redistribution and use in|"
    r"this (?:software|program|file|library|code|work|project|source(?: code)?) (?:is|may be|can be)[a-z ]{0,20} "
    r"(?:licen[cs]ed|free software|distributed|provided|subject to|released|governed|used|part of .{1,60}licen[cs])|"
    r"the software is provided|you should have received a copy|(?:you may not|not be) use[d]? this file|"
    r"unless required by applicable law|governed by an? .{0,40}licen[cs]e|use of this source code|dual[- ]licen[cs]ed|"
    r"(?:under|to) the (?:terms|conditions)(?: and conditions)? of|subject to the terms|without (?:any )?warrant|"
    r"(?:distributed|released|published|available|licen[cs]e) under the [\w. -]{0,40}\blicen[cs]e|"
    r"see (?:the )?(?:accompanying )?(?:file )?[\"'`<]?(?:licen[cs]e|copying|notice)|"
    r"https?://(?:www\.)?(?:apache|gnu|opensource|mozilla|boost|eclipse)\.org/[\w/.-]*licen[cs]e",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"redistributions? |neither the name|the above copyright notice|in no event shall|this software is provided|"
    r"the software is provided|you may (?:obtain|not use)|unless required|you should have received|without warrant|"
    r"permission|disclaim|warrant|licen[cs]e|https?://\S+licen[cs]e|redistribute it|is distributed in the hope|"
    r"write to the free software|by the free software foundation|fitness for a particular purpose|liabilit",
    re.IGNORECASE,
)

# Beside a licence: its name alone, or an address alone.
_TITLE = re.compile(r"(?:the )?[\w .,()\"-]{0,40}\blicen[cs]e\b[\w .,()\"-]{0,30}|https?://\S+", re.IGNORECASE)
_YEARS = re.compile(r"[\d ,–-]+")


def without_header(text: str, path: str) -> tuple[str, str]:
    """The text without the paragraphs of its first comments that state copyright or licence, and those comments.

    `path` is the file's, for its language. The rest of a comment stays, and so do lines that programs read: `#!`, the
    encoding, ``#include`` and other directives. Blank lines behind a header that began the file go with it.
    """
    head = text[:_HEAD]
    lines = _LINE.findall(head)
    language = _language(path)
    kept: list[str] = []
    number = blocks = 0
    header: list[str] = []
    while number < len(lines) and blocks < _MOST_BLOCKS:
        line = lines[number]
        if not line.strip() or _PROLOGUE.match(line):
            kept.append(line)
            number += 1
            continue
        block = _block_at(lines, number, language)
        if block is None:
            break
        blocks += 1
        own = _cleaned(block)
        if own != block.lines:
            header += block.lines
        kept += own
        number += len(block.lines)
        if own == [] and not "".join(kept).strip("\ufeff \t\r\n"):
            while number < len(lines) and not lines[number].strip():
                number += 1
    if not header:
        return text, ""
    return "".join(kept) + "".join(lines[number:]) + text[len(head) :], "".join(header)


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines of one comment. `marks`: what opens and closes it, or begins each line."""

    lines: list[str]
    opens: str
    closes: str


@dataclass(frozen=True, slots=True)
class _Language:
    ending: str
    prose: bool


def _language(path: str) -> _Language:
    name = path.rpartition("/")[2]
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return _Language(ending, ending in _PROSE or _PROSE_NAMES.match(name) is not None)


def _block_at(lines: list[str], start: int, language: _Language) -> _Block | None:
    first = lines[start].lstrip("\ufeff \t")
    for opens, closes in _PAIRS:
        if first.startswith(opens) and (opens == "<!--" or not language.prose):
            return _enclosed(lines, start, opens, closes)
    mark = None if language.prose else _mark_of(first, language)
    if mark is None:
        return None
    end = start
    while (
        end < len(lines)
        and _mark_of(lines[end].lstrip("\ufeff \t"), language) == mark
        and not _stands_alone(lines[end])
    ):
        end += 1
    return _Block(lines[start:end], mark, "") if end > start else None


def _enclosed(lines: list[str], start: int, opens: str, closes: str) -> _Block | None:
    """The comment that begins at a line; None if it has no end, or if code stands behind its end."""
    place = lines[start].index(opens) + len(opens)
    for number in range(start, len(lines)):
        end = lines[number].find(closes, place)
        place = 0
        if end >= 0:
            alone = not lines[number][end + len(closes) :].strip()
            return _Block(lines[start : number + 1], opens, closes) if alone else None
    return None


def _mark_of(line: str, language: _Language) -> str | None:
    if line.startswith("//"):
        return "//"
    if line.startswith("#"):
        return None if language.ending in _NO_HASH or _PREPROCESSOR.match(line) else "#"
    for mark, endings in _ENDINGS.items():
        if language.ending in endings and line.startswith(mark):
            return mark
    return None


def _stands_alone(line: str) -> bool:
    """Whether a program reads this comment."""
    return _PROLOGUE.match(line) is not None


def _cleaned(block: _Block) -> list[str]:
    """The lines of a comment that stay: all, some, or none where nothing is left to say."""
    contents = [_content(line, block) for line in block.lines]
    gone = _gone(contents)
    if not gone:
        return block.lines
    if not any(content.strip() and number not in gone for number, content in enumerate(contents)):
        return []
    kept: list[str] = []
    last = len(block.lines) - 1
    for number, line in enumerate(block.lines):
        if number not in gone:
            kept.append(line)
        elif block.closes and number == 0:
            kept.append(line[: line.index(block.opens) + len(block.opens)] + _line_end(line))
        elif block.closes and number == last:
            indent = line[: len(line) - len(line.lstrip())]
            kept.append(indent + line[line.rindex(block.closes) :])
    return kept


def _content(line: str, block: _Block) -> str:
    """The words of a line of a comment, without its marks and decoration."""
    text = line.strip("\ufeff \t\r\n")
    plain = text.removeprefix(block.opens).removesuffix(block.closes).strip("*#/-=;%!~+|_ \t")
    return plain if any(map(str.isalnum, plain)) else ""


def _gone(contents: list[str]) -> set[int]:
    """The numbers of the lines that state copyright or licence, and of the blank lines behind them."""
    gone: set[int] = set()
    titles: set[int] = set()
    start = 0
    licensed = False
    for end in range(len(contents) + 1):
        if end < len(contents) and contents[end]:
            continue
        paragraph = range(start, end)
        start = end + 1
        whole = " ".join(contents[number] for number in paragraph)
        states = _LICENCE.search(whole) is not None or (licensed and _GOES_ON.search(whole) is not None)
        licensed = licensed or states
        first = next((number for number in paragraph if _is_stated(contents, number)), None)
        if states:
            gone.update(paragraph if first is None else range(first, end))
        elif len(paragraph) == 1 and _TITLE.fullmatch(whole):
            titles.update(paragraph)
        gone.update(number for number in paragraph if _COPYRIGHT.search(contents[number]))
        gone.difference_update(number for number in paragraph if _DIRECTIVE.match(contents[number]))
    if licensed:
        gone |= titles
    for number, content in enumerate(contents):
        if number - 1 in gone and (not content or _YEARS.fullmatch(content)):
            gone.add(number)
    return gone


def _is_stated(contents: list[str], number: int) -> bool:
    """Whether a statement begins in this line: its words may run on into the next."""
    line = contents[number]
    joined = f"{line} {contents[number + 1]}" if number + 1 < len(contents) else line
    found = _LICENCE.search(joined)
    return _COPYRIGHT.search(line) is not None or (found is not None and found.start() < len(line))


def _line_end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]
