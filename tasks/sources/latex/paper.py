"""The text of a paper: from its first section to its end, without bibliography, comments and macros of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.sources.latex.expansion import expand_macros
from tasks.sources.latex.inputs import CLASS, Inputs
from tasks.sources.latex.tokens import Tokens
from tasks.sources.latex.verbatim import Verbatim

_BEGIN, _END = "\\begin{document}", "\\end{document}"
_SECTION = re.compile(
    r"\\(?:part|chapter|section|subsection|subsubsection|paragraph|subparagraph)\*?[ \t\n]*+[\[{]"
    r"|\\(?:begin|verb|lstinline|mintinline)(?![A-Za-z@])|\\.",
    re.DOTALL,
)
_LISTS = re.compile(r"\\begin[ \t]*+\{(thebibliography|references|REFERENCES|bibliography)\}")
_BIBLIOGRAPHY = re.compile(
    r"\\(?:bibliography|bibliographystyle|addbibresource|nocite)[ \t]*+\{[^{}]*+\}(?:[ \t]*+\n)?"
    r"|\\printbibliography(?![A-Za-z@])(?:[ \t]*+\[[^\]]{0,500}\])?(?:[ \t]*+\n)?"
)
_TITLE = re.compile(r"\\title(?![A-Za-z@])")
_LONGEST_TITLE = 1000
_MOST_COMPARED = 100
TEX = (".tex", ".ltx", ".latex")


@dataclass(frozen=True, slots=True)
class PaperText:
    """`text` is None where there is no section. Counts are those of `Expanded` and `Inputs`."""

    text: str | None = field(repr=False)
    title: str | None
    calls: int
    left: int
    missing: int


def main_files(files: Mapping[str, str]) -> list[str]:
    r"""The files that no other one inputs and that make a document, the one with the longest text first.

    A file makes a document if it has a ``\documentclass``, itself or in what it inputs. If none does, all files that no
    other one inputs. Files are without comments.
    """
    inputs = Inputs(files, 0)
    uses = {path: [target for target in inputs.inputs_of(path) if target != path] for path in files}
    users: dict[str, list[str]] = {}
    for path, targets in uses.items():
        for target in targets:
            users.setdefault(target, []).append(path)
    tex = [path for path in files if path.lower().endswith(TEX)]
    free = [path for path in tex if path not in users]
    documents = _reached([path for path in files if CLASS.search(files[path])], users)
    mains = [path for path in free if path in documents] or free or tex
    lengths = {path: sum(len(files[one]) for one in _reached([path], uses)) for path in mains[:_MOST_COMPARED]}
    return sorted(mains, key=lambda path: -lengths.get(path, 0))


def _reached(starts: list[str], edges: Mapping[str, list[str]]) -> set[str]:
    reached, rest = set(starts), list(starts)
    while rest:
        new = [path for path in edges.get(rest.pop(), ()) if path not in reached]
        reached.update(new)
        rest += new
    return reached


def paper_text(files: Mapping[str, str], main: str, most: int, whole: bool) -> PaperText:
    """The text of the paper whose main file is `main`; with `whole`, of one without sections too.

    The files are without comments. Raises TooLong and EndlessMacro.
    """
    inputs = Inputs(files, most)
    source = inputs.text_of(main)
    expanded = expand_macros(source)
    text = expanded.text
    title = _title(text)
    start = text.find(_BEGIN)
    start = start + len(_BEGIN) if start >= 0 else 0
    end = text.find(_END, start)
    body = text[start : end if end >= 0 else len(text)]
    section = _first_section(body)
    cut = None if section is None and not whole else _without_bibliography(body[section or 0 :])
    return PaperText(cut, title, expanded.calls, expanded.left, inputs.missing)


def _first_section(text: str) -> int | None:
    verbatim = Verbatim(text)
    position = 0
    while found := _SECTION.search(text, position):
        if found[0][-1] in "[{" and len(found[0]) > 2:
            return found.start()
        position = verbatim.end_at(found.start()) or found.end()
    return None


def _without_bibliography(text: str) -> str:
    kept: list[str] = []
    position = 0
    while found := _LISTS.search(text, position):
        kept.append(text[position : found.start()])
        end = text.find(f"\\end{{{found[1]}}}", found.end())
        position = len(text) if end < 0 else end + len(f"\\end{{{found[1]}}}")
    kept.append(text[position:])
    return _BIBLIOGRAPHY.sub("", "".join(kept))


def _title(text: str) -> str | None:
    found = _TITLE.search(text)
    if found is None:
        return None
    tokens = Tokens(text[found.end() : found.end() + 4 * _LONGEST_TITLE])
    tokens.optional()
    tokens.skip_blank()
    return " ".join((tokens.group() or "").split())[:_LONGEST_TITLE] or None
