r"""Comments go; the percent sign, what stands before it and verbatim text stay."""

from __future__ import annotations

import pytest

from tasks.sources.latex.comments import remove_comments

CASES = [
    ("x% c", "x"),
    ("x % c\ny", "x \ny"),
    ("50\\% of x% c\ny", "50\\% of x\ny"),
    ("a\\\\% c\nb", "a\\\\\nb"),
    ("a\\\\\\% b", "a\\\\\\% b"),
    ("a\n% c\nb", "a\nb"),
    ("a\n  % c\n  b", "a\n  b"),
    ("a\n% c\n\nb", "a\n\nb"),
    ("%", ""),
    ("% c\n% d\n", ""),
    ("\\url{http://a/%20b} x% c", "\\url{http://a/%20b} x"),
    ("\\verb|50%| x% c", "\\verb|50%| x"),
    ("\\verb*+%+ \\lstinline!%! y% c", "\\verb*+%+ \\lstinline!%! y"),
    ("\\begin{verbatim}\n% no comment\n\\end{verbatim}% c", "\\begin{verbatim}\n% no comment\n\\end{verbatim}"),
    ("\\begin{lstlisting}[a]\n% x\n\\end{lstlisting}\n", "\\begin{lstlisting}[a]\n% x\n\\end{lstlisting}\n"),
    ("\\begin{verbatim}\n% no end\n", "\\begin{verbatim}\n"),
    ("a\\begin{comment}\nx\n\\end{comment}b", "ab"),
    ("a\\iffalse x\\fi b", "a b"),
    ("a\\iffalse \\ifx\\a\\b c\\fi d\\fi b", "a\\iffalse \\ifx\\a\\b c\\fi d\\fi b"),
    ("a\\iff b% c", "a\\iff b"),
    ("\\verbatiminput{x}% c", "\\verbatiminput{x}"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_comments_go(text: str, expected: str) -> None:
    assert remove_comments(text) == expected


@pytest.mark.parametrize(
    "unit", ["\\begin{verbatim}", "\\iffalse ", "\\verb|", "\\lstinline{", "\\url{", "%\n", "a%", "\\"]
)
def test_marks_without_an_end_cost_no_more_than_their_length(unit: str) -> None:
    remove_comments(unit * 50_000)
