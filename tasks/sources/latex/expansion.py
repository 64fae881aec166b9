"""Expands the macros that a text defines, as TeX would where no program runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.sources.latex.macros import (
    COMMANDS,
    DEFS,
    DOCUMENT_COMMANDS,
    ENVIRONMENTS,
    OPERATORS,
    PREFIXES,
    Definition,
    Environment,
    Macro,
    alias,
    command,
    definition,
    document_command,
    environment,
    operator,
)
from tasks.sources.latex.tokens import Tokens, ends_line, joined, without_empty_line
from tasks.sources.latex.verbatim import Verbatim

# Steps of expansion that a text may take: so many for each of its characters (a book full of macros takes one), and so
# many besides.
_PER_CHARACTER, _BESIDES = 8, 8 << 20
_CALL = 32  # steps of a call, besides its characters
_DEEPEST = 500
_READERS: dict[str, Callable[[Tokens], Definition | None]] = {
    **dict.fromkeys(COMMANDS, command),
    **dict.fromkeys(DOCUMENT_COMMANDS, document_command),
    **dict.fromkeys(OPERATORS, operator),
    **dict.fromkeys(ENVIRONMENTS, environment),
}
_NAME = re.compile(r"[ \t]*+\{([^{}\\\n]{1,80})\}")
_CONTROL_WORD = re.compile(r"\\[A-Za-z@]+\Z")


class EndlessMacro(Exception):
    """The macros of a text make more of it than the limit allows, or for ever more."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """A text without macros of its own. `calls` counts those expanded, and `left` those that stay as they stand."""

    text: str = field(repr=False)
    calls: int
    left: int


def expand_macros(text: str) -> Expanded:
    r"""Replace calls of macros by what they stand for, and remove their definitions.

    Read are ``\newcommand`` and its kin, ``\def`` and its kin, ``\let``, ``\DeclareMathOperator``,
    ``\NewDocumentCommand`` and ``\newenvironment``, each within its group. Calls stay where the body is a program (it
    has conditions, or internal commands of LaTeX), and so does verbatim text. Raises EndlessMacro.
    """
    return _Expander(text).run()


class _Expander:
    def __init__(self, text: str) -> None:
        self._tokens = Tokens(text)
        self._most = _BESIDES + _PER_CHARACTER * len(text)
        self._steps = self._calls = self._left = 0
        self._kept: list[str] = []
        self._verbatim = Verbatim(text)
        self._verbatim_of = text
        self._macros: dict[str, Macro | None] = {}
        self._environments: dict[str, Environment | None] = {}
        # What a group changes, to be undone at its end.
        self._undo: list[list[Callable[[], None]]] = []

    def run(self) -> Expanded:
        tokens, kept = self._tokens, self._kept
        while True:
            if plain := tokens.plain():
                kept.append(plain)
            token = tokens.token()
            if token.startswith("\\"):
                self._control(token)
            elif token:
                kept.append(token)
                self._group(token)
            elif not plain:
                return Expanded("".join(kept), self._calls, self._left)

    def _group(self, token: str) -> None:
        if token == "{":
            self._undo.append([])
        elif self._undo:
            for undo in reversed(self._undo.pop()):
                undo()

    def _control(self, name: str) -> None:
        tokens = self._tokens
        if name in self._macros:
            macro = self._macros[name]
            if macro is None or not self._is_whole(macro):
                self._check(name)
                self._left += 1
                self._kept.append(name)
            else:
                self._call(name, macro)
        elif name in _READERS or name in DEFS or name == "\\let" or name in PREFIXES:
            self._define(name)
        elif name in ("\\begin", "\\end"):
            self._environment(name)
        elif name in ("\\verb", "\\lstinline", "\\mintinline") and self._take_verbatim(name):
            pass
        elif name in ("\\makeatletter", "\\makeatother"):
            tokens.internal = name == "\\makeatletter"
            tokens.rest_of_line()
        else:
            self._kept.append(name)

    def _call(self, name: str, macro: Macro) -> None:
        tokens = self._tokens
        if macro.plain:
            self._kept.append(macro.expanded([]))
            return
        mark = tokens.mark()
        if _CONTROL_WORD.match(name):
            # TeX would pass the line end too. Here lines stay as they are, as in pandoc.
            tokens.skip_spaces()
        arguments = macro.arguments(tokens)
        if arguments is None:
            self._check(name)
            tokens.go(mark)
            self._left += 1
            self._kept.append(name)
            return
        self._calls += 1
        self._push(macro.expanded(arguments), name)

    def _push(self, text: str, name: str) -> None:
        tokens = self._tokens
        self._steps += _CALL + len(text)
        self._check(name)
        # TeX passes the line end behind a name: no empty line comes of a call, which would end a paragraph.
        text = without_empty_line(self._last(), text)
        if ends_line(text or self._last()):
            tokens.rest_of_line()
        text += joined(text or self._last(), tokens.peek())
        if text:
            tokens.push(joined(self._last(), text) + text)

    def _check(self, name: str) -> None:
        if self._steps + self._tokens.work > self._most or self._tokens.depth > _DEEPEST:
            raise EndlessMacro(f"the macro {name} does not end, or takes more than {self._most} steps")

    def _last(self) -> str:
        return self._kept[-1] if self._kept else ""

    def _is_whole(self, macro: Macro) -> bool:
        """Whether the internal names in a body are the author's, and can be expanded in their turn."""
        if not macro.needs:
            return True
        seen: set[str] = set()
        rest = list(macro.needs)
        while rest:
            name = rest.pop()
            self._steps += 1
            if name in seen:
                continue
            seen.add(name)
            found = self._macros.get(name)
            if found is None:
                return False
            rest += found.needs
        return True

    def _define(self, name: str) -> None:
        tokens = self._tokens
        mark = tokens.mark()
        everywhere, first = False, name
        while name in PREFIXES:
            everywhere = everywhere or name == "\\global"
            tokens.skip_blank()
            name = tokens.token()
        found: Definition | None = None
        if name == "\\let":
            names = alias(tokens)
            found = None if names is None else Definition(names[0], self._meaning(names[1]))
        elif name in DEFS:
            found = definition(tokens, name)
        elif name in _READERS:
            found = _READERS[name](tokens)
        if found is not None and name == "\\providecommand" and found.name in self._macros:
            found = Definition(found.name, self._macros[found.name])
        if found is None or found.value is None:
            self._check(name)
            if found is not None:
                self._set(found, everywhere, name in ENVIRONMENTS)
            tokens.go(mark)
            self._kept.append(first)
            if found is not None:
                self._keep_definition(found)
            return
        self._set(found, everywhere or name in ("\\gdef", "\\xdef"), name in ENVIRONMENTS)
        if ends_line(self._last()):
            tokens.rest_of_line()

    def _keep_definition(self, found: Definition) -> None:
        """Keep the name in a definition as it stands."""
        tokens = self._tokens
        while (plain := tokens.plain()) or tokens.peek() in ("{", "\\"):
            token = "" if plain else tokens.token()
            self._kept.append(plain or token)
            if token == "{":
                self._group(token)
            if token in (found.name, ""):
                return

    def _meaning(self, name: str) -> Macro | None:
        return self._macros[name] if name in self._macros else Macro((name,), plain=True)

    def _set(self, found: Definition, everywhere: bool, is_environment: bool) -> None:
        table: dict[str, object] = self._environments if is_environment else self._macros  # type: ignore[assignment]
        if self._undo and not everywhere:
            before = table.get(found.name)
            known = found.name in table

            def undo() -> None:
                if known:
                    table[found.name] = before
                else:
                    table.pop(found.name, None)

            self._undo[-1].append(undo)
        table[found.name] = found.value

    def _environment(self, name: str) -> None:
        tokens = self._tokens
        if name == "\\begin" and self._take_verbatim(name):
            return
        text, position = tokens.raw()
        found = _NAME.match(text, position)
        if found is None:
            self._kept.append(name)
            return
        own = self._environments.get(found[1])
        whole = own is not None and self._is_whole(own.begin) and self._is_whole(own.end)
        tokens.pass_to(found.end())
        if own is None or not whole:
            self._kept.append(name + found[0])
            self._group("{" if name == "\\begin" else "}")
        elif name == "\\begin":
            arguments = own.begin.arguments(tokens)
            self._group("{")
            if arguments is None:
                self._check(name)
                self._kept.append(name + found[0])
            else:
                self._calls += 1
                self._push(own.begin.expanded(arguments), f"\\begin{{{found[1]}}}")
        else:
            self._push(own.end.expanded([]), f"\\end{{{found[1]}}}")
            self._group("}")

    def _take_verbatim(self, name: str) -> bool:
        text, position = self._tokens.raw()
        if text is not self._verbatim_of:
            self._verbatim, self._verbatim_of = Verbatim(text), text
        end = self._verbatim.end_at(position - len(name))
        if end is None:
            return False
        self._kept.append(name + self._tokens.pass_to(end))
        return True
