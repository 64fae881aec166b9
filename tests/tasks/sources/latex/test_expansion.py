r"""Macros are expanded as pandoc 3.9 expands them; programs stay, and no macro costs more than the limit."""

from __future__ import annotations

import pytest

from tasks.sources.latex import expansion
from tasks.sources.latex.expansion import EndlessMacro, expand_macros

# `pandoc -f latex+latex_macros` makes the same document of the first text as `pandoc -f latex-latex_macros` of the
# second, but for blanks.
AS_PANDOC = [
    (r"\newcommand{\R}{\mathbb{R}}$x\in\R$ and \R text", r"$x\in\mathbb{R}$ and \mathbb{R}text"),
    (r"\newcommand{\eps}{\varepsilon}$\eps x < \eps_1$", r"$\varepsilon x < \varepsilon_1$"),
    (r"\def\a{\alpha}$\a b\a{} \a\beta$", r"$\alpha b\alpha{} \alpha\beta$"),
    (r"\newcommand{\f}[1]{\mathcal#1}$\f A + \f{B}$", r"$\mathcal A + \mathcal B$"),
    (
        r"\newcommand{\norm}[2][2]{\lVert #2\rVert_{#1}}$\norm{x} + \norm[p]{y}$",
        r"$\lVert x\rVert_{2} + \lVert y\rVert_{p}$",
    ),
    (
        r"\def\pair<#1,#2>{\langle #1\mid #2\rangle}$\pair<a,b> \pair<{a,b},c>$",
        r"$\langle a\mid b\rangle \langle a,b\mid c\rangle$",
    ),
    (r"\DeclareMathOperator{\rank}{rank}$\rank A$", r"$\mathop{\mathrm{rank}}A$"),
    (r"\DeclareMathOperator*{\argmax}{arg\,max}$\argmax_x$", r"$\mathop{\mathrm{arg\,max}}_x$"),
    (r"\let\old\phi\let\phi\varphi$\phi+\old$", r"$\varphi+\phi$"),
    (
        r"\newcommand{\be}{\begin{equation}}\newcommand{\ee}{\end{equation}}\be x=1 \ee",
        r"\begin{equation}x=1 \end{equation}",
    ),
    (r"{\newcommand{\x}{inner}\x} and \newcommand{\x}{outer}\x", r"{inner} and outer"),
    (r"\newcommand{\a}{A}\renewcommand{\a}{B}\a, \a{} b", r"B, B{} b"),
    (r"\providecommand{\q}{Q}\providecommand{\q}{R}\q.", r"Q."),
    (
        r"\newcommand{\outer}[1]{\inner{#1}{#1}}\newcommand{\inner}[2]{#1--#2}\outer{z} \inner ab",
        r"z--z a--b",
    ),
    (r"\newcommand{\two}{\inn}\newcommand{\inn}[1]{[#1]}\two{x}", r"[x]"),
    (
        r"\newcommand*{\s}[1]{\textsc{#1}}\s{Name} \verb|\s{x}| 50\% of \s {it}",
        r"\textsc{Name} \verb|\s{x}| 50\% of \textsc{it}",
    ),
    (r"\newcommand{\mk}[1]{\newcommand{\made}{made #1}}\mk{x}\made", r"made x"),
    (r"\def\x#1{\def\y##1{#1 and ##1}}\x{p}\y{q}", r"p and q"),
    (r"\newcommand{\ie}{i.e.\ }\ie this, \ie{}that", r"i.e.\ this, i.e.\ {}that"),
    (r"\long\gdef\g#1{<#1>}{\gdef\h{H}}\g{1} \h", r"{}<1> H"),
    (r"\newcommand{\emptymac}{}a\emptymac b \textbf\emptymac{c}", r"ab \textbf{c}"),
    ("\\newcommand{\\foo}{foo}\n\\foo\n\n\\foo\nbar", "foo\n\nfoo\nbar"),
    (r"\newcommand{\lst}{\item}\lst a \lst b", r"\item a \item b"),
    (r"\def\vec#1{\mathbf{#1}}$\vec x \vec{yz} \vec\alpha$", r"$\mathbf{x} \mathbf{yz} \mathbf{\alpha}$"),
    (r"\newcommand{\o}[3][a]{(#1|#2|#3)}\o{b}{c} \o[z]{b}{c} \o[{]}]{b}{c}", r"(a|b|c) (z|b|c) ({]}|b|c)"),
    (r"\edef\ee{E}\xdef\ff{F}\ee\ff", r"EF"),
]


@pytest.mark.parametrize(("text", "expected"), AS_PANDOC)
def test_macros_are_expanded_as_in_pandoc(text: str, expected: str) -> None:
    assert expand_macros(text).text == expected


OWN = [
    # As in TeX, and not in pandoc, a macro that stands alone in its line ends no paragraph.
    ("\\newcommand{\\x}{}a\n\\x\nb", "a\nb"),
    ("\\newcommand{\\x}{}a\n\\x\n\nb", "a\n\nb"),
    ("\\newcommand{\\x}{\n  text\n}a\n\\x\nb", "a\n  text\nb"),
    ("\\newcommand{\\x}[1]{\n  #1\n}a\n\\x{\n q\n}\nb", "a\n   q\nb"),
    ("\\newcommand{\\x}{one\n\ntwo}a \\x\n\nb", "a one\n\ntwo\n\nb"),
    (r"\newenvironment{thm}[1]{\textbf{#1.} }{\emph{end}}\begin{thm}{7}body\end{thm}", r"\textbf{7.} body\emph{end}"),
    (r"\NewDocumentCommand{\nd}{O{d} m}{#1:#2}\nd{x} \nd[e]{y}", r"d:x e:y"),
    (r"\newcommand{\al}{\alpha}\newcommand{\bb}{\al}$\bb x$", r"$\alpha x$"),
    (
        r"\let\oldsection\section\renewcommand{\section}[1]{\oldsection{#1}}\section{A}",
        r"\renewcommand{\section}[1]{\section{#1}}\section{A}",
    ),
    (r"\def\cut#1\endcut{}a\cut secret\endcut b", r"ab"),
    (r"\newcommand{\x}[2]{#2}\x{a", r"\x{a"),
    (r"\newcommand{\x}[1]{#1} } \x }", r" } \x }"),
    (r"\makeatletter\def\my@in#1{<#1>}\newcommand{\my}{\my@in}\makeatother\my{x} a@b.org", r"<x> a@b.org"),
    (
        r"\begin{verbatim}\newcommand{\x}{y}\x\end{verbatim}\newcommand{\x}{y}\x",
        "\\begin{verbatim}\\newcommand{\\x}{y}\\x\\end{verbatim}y",
    ),
    (r"\newcommand\x\alpha\x", r"\alpha"),
    (r"a \newcommand", r"a \newcommand"),
    (r"\def\x#2{a}\x b", r"\def\x#2{a}\x b"),
]


@pytest.mark.parametrize(("text", "expected"), OWN)
def test_other_definitions(text: str, expected: str) -> None:
    assert expand_macros(text).text == expected


PROGRAMS = [
    r"\newcommand{\x}{\ifmmode a\else b\fi} \x",
    r"\def\x#1{\@ifnextchar[{\y}{\z}} \x{a}",
    r"\def\x{\expandafter\y\z} \x",
    r"\edef\x{\x more} \x",
]


@pytest.mark.parametrize("text", PROGRAMS)
def test_a_program_stays_as_it_stands(text: str) -> None:
    found = expand_macros(f"\\makeatletter{text}")
    assert found.text.endswith(text[text.rindex(r"\x") :]) and found.left and not found.calls


def test_iff_is_no_condition() -> None:
    assert expand_macros(r"\newcommand{\x}{\iff}$a\x b$").text == r"$a\iff b$"


ENDLESS = [
    r"\def\a{\a}\a",
    r"\def\a{\a x}\a",
    r"\def\a{x\b}\def\b{y\a}\a",
    r"\newcommand{\a}[1]{\a{#1#1}}\a{x}",
    r"\newenvironment{e}{\begin{e}}{\end{e}}\begin{e}",
    "".join(rf"\def\{chr(97 + n)}{{\{chr(98 + n)}\{chr(98 + n)}}}" for n in range(25)) + r"\def\z{}\a",
    r"\def\d#1{#1#1}" + r"\d{" * 40 + "xyz" + "}" * 40,
    r"\makeatletter" + "".join(rf"\def\m{n * '@'}{{\m{n * '@'}@}}" for n in range(2, 200)) + r"\m@@" * 3000,
]


@pytest.mark.parametrize("text", ENDLESS)
def test_a_macro_without_end_stops(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "_BESIDES", 1 << 16)
    monkeypatch.setattr(expansion, "_PER_CHARACTER", 1)
    with pytest.raises(EndlessMacro):
        expand_macros(text)


def test_calls_without_their_arguments_cost_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "_BESIDES", 1 << 16)
    monkeypatch.setattr(expansion, "_PER_CHARACTER", 8)
    text = r"\newcommand{\x}[1]{}" + r"\x{" * 20_000
    with pytest.raises(EndlessMacro):
        expand_macros(text)
