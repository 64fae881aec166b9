r"""What an author defines: macros, environments and names of operators, and how their definitions are read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.sources.latex.tokens import Tokens, joined, without_empty_line

# Macros that need TeX to run: conditions, expansion by steps, registers. Their calls stay, and so do their definitions.
_PROGRAM = re.compile(
    r"\\(?:if(?!f(?![A-Za-z@]))[A-Za-z@]*|else|fi|or|expandafter|csname|endcsname|noexpand|futurelet|catcode|the|number"
    r"|romannumeral|numexpr|dimexpr|advance|afterassignment|aftergroup|loop|repeat|string|meaning|bgroup|egroup"
    r"|begingroup|endgroup|uppercase|lowercase|read|write|immediate|afterpage|everypar|unexpanded|detokenize"
    r"|IfNoValueTF|IfBooleanTF|IfValueTF|ExplSyntaxOn|char(?=[0-9'\"`]))(?![A-Za-z@])"
)
_INTERNAL = re.compile(r"\\[A-Za-z]*@[A-Za-z@]*")
_CONTROL = re.compile(r"\\(?:[A-Za-z@]+|[^A-Za-z@])\Z", re.DOTALL)
_WORD = re.compile(r"\\[A-Za-z@]+\Z")
_PARAMETER = re.compile(r"#(#+|[1-9]|\{)")
_DELIMITERS = re.compile(r"([^#]*+)((?:#[1-9][^#]*+)*+)\Z", re.DOTALL)
# A document keeps its form, whatever its author makes of these.
_KEPT = frozenset(
    (
        *("\\part", "\\chapter", "\\section", "\\subsection", "\\subsubsection", "\\paragraph", "\\subparagraph"),
        *("\\begin", "\\end", "\\item", "\\input", "\\include", "\\par", "\\label", "\\ref", "\\cite", "\\bibitem"),
        *("\\bibliography", "\\newcommand", "\\renewcommand", "\\providecommand", "\\def", "\\let", "\\newenvironment"),
        *("\\renewenvironment", "\\documentclass", "\\documentstyle", "\\usepackage", "\\title", "\\author", "\\date"),
        *("\\maketitle", "\\\\", "\\{", "\\}", "\\$", "\\%", "\\&", "\\#", "\\_"),
    )
)
KEPT_ENVIRONMENTS = frozenset(("document", "thebibliography", "verbatim"))
COMMANDS = ("\\newcommand", "\\renewcommand", "\\providecommand", "\\DeclareRobustCommand")
DEFS = ("\\def", "\\gdef", "\\edef", "\\xdef")
ENVIRONMENTS = ("\\newenvironment", "\\renewenvironment")
OPERATORS = ("\\DeclareMathOperator",)
DOCUMENT_COMMANDS = (
    "\\NewDocumentCommand",
    "\\RenewDocumentCommand",
    "\\ProvideDocumentCommand",
    "\\DeclareDocumentCommand",
)
PREFIXES = ("\\global", "\\long", "\\protected", "\\outer")


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro: its body in pieces, where a number stands for an argument.

    `delimiters`: what stands before the first parameter and behind each; None for parameters in braces, as
    ``\\newcommand`` makes them. `default`: of the first argument, if it is optional. `plain`: the name is another name
    for a command of LaTeX, and stands for nothing more. `needs`: internal names in the body.
    """

    body: tuple[str | int, ...]
    parameters: int = 0
    default: str | None = None
    delimiters: tuple[str, ...] | None = None
    plain: bool = False
    needs: tuple[str, ...] = ()

    def arguments(self, tokens: Tokens) -> list[str] | None:
        """The arguments of a call; None if they are not there."""
        if self.delimiters is not None:
            return self._delimited(tokens)
        found: list[str] = []
        if self.default is not None and self.parameters:
            own = tokens.optional()
            found.append(self.default if own is None else own)
        while len(found) < self.parameters:
            argument = tokens.argument()
            if argument is None:
                return None
            found.append(argument)
        return found

    def expanded(self, arguments: list[str]) -> str:
        """The body with arguments."""
        text: list[str] = []
        for piece in self.body:
            own = piece if isinstance(piece, str) else arguments[piece - 1]
            if text and own:
                own = without_empty_line(text[-1], own)
                text.append(joined(text[-1], own))
            text.append(own)
        return "".join(text)

    def _delimited(self, tokens: Tokens) -> list[str] | None:
        assert self.delimiters is not None
        first, *ends = self.delimiters
        if first and not tokens.takes(first):
            return None
        found: list[str] = []
        for end in ends:
            argument = tokens.until(end) if end else tokens.argument()
            if argument is None:
                return None
            if end and _WORD.search(end):
                tokens.skip_spaces()
            whole = end and argument.startswith("{") and Tokens(argument).group() == argument[1:-1]
            found.append(argument[1:-1] if whole else argument)
        return found


@dataclass(frozen=True, slots=True)
class Environment:
    """The macros that stand for the beginning and the end of an environment."""

    begin: Macro
    end: Macro


@dataclass(frozen=True, slots=True)
class Definition:
    """A name and what it is to stand for; None where it cannot be expanded, and its definition stays in the text."""

    name: str
    value: Macro | Environment | None


def command(tokens: Tokens) -> Definition | None:
    r"""What follows ``\newcommand``."""
    tokens.takes("*")
    name = _name(tokens)
    parameters = tokens.optional()
    default = tokens.optional() if parameters is not None else None
    body = tokens.argument()
    if name is None or body is None or (parameters is not None and not re.fullmatch(r"\s*[0-9]\s*", parameters)):
        return None
    return Definition(name, _macro(name, body, int(parameters or 0), default))


def definition(tokens: Tokens, kind: str) -> Definition | None:
    r"""What follows ``\def``."""
    tokens.skip_blank()
    name = tokens.token()
    pattern = _before_brace(tokens)
    body = tokens.group() if pattern is not None else None
    found = _DELIMITERS.match(pattern or "")
    if not _CONTROL.match(name) or body is None or found is None:
        return None
    ends = re.split(r"#[1-9]", pattern or "")
    if re.findall(r"#([1-9])", pattern or "") != [str(number) for number in range(1, len(ends))]:
        return None
    # What a body that is expanded at once says of itself is its former meaning.
    itself = kind in ("\\edef", "\\xdef") and re.search(re.escape(name) + r"(?![A-Za-z@])", body)
    delimiters = tuple(ends) if any(ends) else None
    return Definition(name, None if itself else _macro(name, body, len(ends) - 1, None, delimiters))


def alias(tokens: Tokens) -> tuple[str, str] | None:
    r"""The two names that follow ``\let``."""
    tokens.skip_blank()
    name = tokens.token()
    tokens.skip_blank()
    tokens.takes("=")
    tokens.skip_blank()
    other = tokens.token()
    return (name, other) if _CONTROL.match(name) and _CONTROL.match(other) and name not in _KEPT else None


def operator(tokens: Tokens) -> Definition | None:
    r"""What follows ``\DeclareMathOperator``."""
    tokens.takes("*")
    name, body = _name(tokens), tokens.argument()
    if name is None or body is None:
        return None
    return Definition(name, _macro(name, f"\\mathop{{\\mathrm{{{body}}}}}", 0, None))


def environment(tokens: Tokens) -> Definition | None:
    r"""What follows ``\newenvironment``."""
    tokens.takes("*")
    name = tokens.argument()
    parameters = tokens.optional()
    default = tokens.optional() if parameters is not None else None
    begin, end = tokens.argument(), tokens.argument()
    if not name or begin is None or end is None or not re.fullmatch(r"\s*[0-9]?\s*", parameters or ""):
        return None
    if name in KEPT_ENVIRONMENTS:
        return Definition(name, None)
    first, last = _macro("", begin, int((parameters or "").strip() or 0), default), _macro("", end, 0, None)
    return Definition(name, Environment(first, last) if first and last else None)


def document_command(tokens: Tokens) -> Definition | None:
    r"""What follows ``\NewDocumentCommand``, with mandatory arguments and perhaps a first one with a default."""
    name, arguments, body = _name(tokens), tokens.argument(), tokens.argument()
    if name is None or arguments is None or body is None:
        return None
    found = re.fullmatch(r"\s*(?:O\s*\{([^{}]*)\})?((?:\s*\+?m)*)\s*", arguments)
    if found is None:
        return Definition(name, None)
    parameters = found[2].count("m") + (found[1] is not None)
    return Definition(name, _macro(name, body, parameters, found[1]))


def _name(tokens: Tokens) -> str | None:
    tokens.skip_blank()
    name = tokens.group() if tokens.peek() == "{" else tokens.token()
    return name.strip() if name is not None and _CONTROL.match(name.strip()) else None


def _before_brace(tokens: Tokens) -> str | None:
    """The parameters of a definition, up to the brace that begins its body; None if they are none."""
    found: list[str] = []
    while (char := tokens.peek()) not in ("", "{", "}"):
        found.append(tokens.token() if char == "\\" else tokens.plain())
        if len(found) > 30:
            return None
    return "".join(found)


def _macro(
    name: str, body: str, parameters: int, default: str | None, delimiters: tuple[str, ...] | None = None
) -> Macro | None:
    if name in _KEPT or _PROGRAM.search(body):
        return None
    pieces: list[str | int] = []
    position = 0
    for found in _PARAMETER.finditer(body):
        pieces.append(body[position : found.start()])
        position = found.end()
        if found[1].isdigit():
            if int(found[1]) > parameters:
                return None
            pieces.append(int(found[1]))
        elif found[1] == "{":
            return None
        else:
            # In the body of a body, the sign stands twice.
            pieces.append("#" * (len(found[0]) // 2))
    pieces.append(body[position:])
    return Macro(
        tuple(piece for piece in pieces if piece != ""),
        parameters,
        default,
        delimiters,
        needs=tuple(dict.fromkeys(_INTERNAL.findall(body))),
    )
