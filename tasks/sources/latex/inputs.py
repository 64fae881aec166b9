r"""Puts the files of a paper together: ``\input`` and its kin, and the author's own style files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from tasks.sources.latex.verbatim import Verbatim

_DEEPEST = 20
_INPUT = re.compile(
    r"\\(?:(?P<verbatim>(?:begin|verb|lstinline|mintinline)(?![A-Za-z@]))"
    r"|(?:input|include|subfile|subfileinclude|InputIfFileExists)[ \t\n]*+\{(?P<braced>[^{}\\\n]{1,300})\}"
    r"|input[ \t]++(?P<bare>[^\s{}\\%$&#^_~]{1,300})"
    r"|(?:sub)?(?:import|includefrom|inputfrom)\*?[ \t]*+"
    r"\{(?P<folder>[^{}\\\n]{0,300})\}[ \t]*+\{(?P<file>[^{}\\\n]{1,300})\}"
    r"|(?:usepackage|RequirePackage)(?:\[[^\]\\{}]{0,500}\])?\{(?P<styles>[^{}\\]{1,1000})\}|.)",
    re.DOTALL,
)
_BEGIN_DOCUMENT, _END_DOCUMENT = r"\begin{document}", r"\end{document}"
CLASS = re.compile(r"\\document(?:class|style)\b")


class TooLong(Exception):
    """The inputs of a paper make a text that is longer than the limit."""


class Inputs:
    r"""The files of one paper, without comments, by path.

    `missing` counts the inputs that the paper does not have, and those that would read themselves: they stay as they
    stand. Nothing outside the paper is ever read.
    """

    def __init__(self, files: Mapping[str, str], most: int) -> None:
        self._files, self._most = files, most
        self._lower = {path.lower(): path for path in sorted(files, reverse=True)}
        self.missing = 0

    def inputs_of(self, path: str) -> Iterator[str]:
        """The files of the paper that a file inputs."""
        for found in _INPUT.finditer(self._files[path]):
            for target in self._targets(found, path, ""):
                if target is not None:
                    yield target

    def text_of(self, root: str) -> str:
        """The text of a file with its inputs. Raises TooLong."""
        pieces: list[str] = []
        self._add(root, posixpath.dirname(root), (root,), pieces, [0])
        return "".join(pieces)

    def _add(self, path: str, base: str, around: tuple[str, ...], pieces: list[str], size: list[int]) -> None:
        text = self._files[path]
        outer = any(CLASS.search(self._files[one]) for one in around[:-1])
        if outer and _BEGIN_DOCUMENT in text and CLASS.search(text):
            # A subfile: a document of its own that is also a part of this one.
            text = text.partition(_BEGIN_DOCUMENT)[2].partition(_END_DOCUMENT)[0]
        verbatim = Verbatim(text)
        position = search = 0
        while found := _INPUT.search(text, search):
            search = found.end()
            if found["verbatim"]:
                search = verbatim.end_at(found.start()) or search
                continue
            targets = list(self._targets(found, path, base))
            inside = [target for target in targets if target is not None]
            if found["styles"] is not None:
                inside = [target for target in inside if target not in around]
            elif targets and (not inside or inside[0] in around or len(around) >= _DEEPEST):
                self.missing += 1
                continue
            if not inside:
                continue
            self._append(text[position : found.start()], pieces, size)
            for target in inside:
                folder = posixpath.dirname(target) if found["folder"] is not None else base
                if found["styles"] is not None:
                    self._append("\\makeatletter ", pieces, size)
                self._add(target, folder, (*around, target), pieces, size)
                if found["styles"] is not None:
                    self._append("\\makeatother\n", pieces, size)
            position = search
        self._append(text[position:], pieces, size)

    def _append(self, piece: str, pieces: list[str], size: list[int]) -> None:
        # Empty files count too: each is a step.
        size[0] += len(piece) + 1
        if size[0] > self._most:
            raise TooLong(f"the inputs of the paper make more than {self._most} characters")
        pieces.append(piece)

    def _targets(self, found: re.Match[str], path: str, base: str) -> Iterator[str | None]:
        folders = (base, posixpath.dirname(path), "")
        if found["styles"] is not None:
            for name in found["styles"].split(","):
                yield self._find(folders, name.strip() + ".sty")
        elif found["folder"] is not None:
            yield self._find(tuple(posixpath.join(one, found["folder"]) for one in folders), found["file"].strip())
        elif (target := found["braced"] or found["bare"]) is not None:
            yield self._find(folders, target.strip().strip('"'))

    def _find(self, folders: tuple[str, ...], target: str) -> str | None:
        for folder in folders:
            wanted = posixpath.normpath(posixpath.join(folder, target))
            for candidate in (f"{wanted}.tex", wanted, f"{wanted}.ltx"):
                if candidate in self._files:
                    return candidate
            if f"{wanted}.tex".lower() in self._lower or wanted.lower() in self._lower:
                return self._lower.get(f"{wanted}.tex".lower()) or self._lower[wanted.lower()]
        return None
