r"""Papers: their inputs, their main file, and what is left of their text."""

from __future__ import annotations

import pytest

from tasks.sources.latex.comments import remove_comments
from tasks.sources.latex.inputs import Inputs, TooLong
from tasks.sources.latex.paper import PaperText, main_files, paper_text

CLASS = "\\documentclass{article}\n\\begin{document}\n"


def decoded(files: dict[str, str]) -> dict[str, str]:
    return {path: remove_comments(text) for path, text in files.items()}


def paper(text: str, whole: bool = False, **others: str) -> PaperText:
    files = decoded({"main.tex": text, **{name.replace("_", "."): other for name, other in others.items()}})
    return paper_text(files, "main.tex", 1 << 20, whole)


COMMANDS = ["part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", ["{A}", "*{A}", "[a]{A}", " {A}"])
def test_every_command_of_a_section_is_one(command: str, form: str) -> None:
    found = paper(f"{CLASS}Abstract\n\\{command}{form} text\\end{{document}} after")
    assert found.text is not None and found.text.endswith(f"\\{command}{form} text")
    assert "Abstract" not in found.text and "after" not in found.text


def test_a_paper_without_a_section_is_none_or_whole() -> None:
    text = f"{CLASS}A letter.\\end{{document}}"
    assert paper(text).text is None
    assert (paper(text, whole=True).text or "").strip() == "A letter."


@pytest.mark.parametrize(
    "decoy", ["% \\section{x}\n", "\\verb|\\section{x}|", "\\\\section{x}", "\\newcommand{\\q}{\\section{x}}"]
)
def test_what_only_looks_like_a_section_is_none(decoy: str) -> None:
    assert paper(f"{CLASS}{decoy}\n\\section{{Real}}").text == "\\section{Real}"


def test_the_bibliography_goes_and_the_appendix_stays() -> None:
    text = (
        "\\section{A} one\\nocite{*}\\begin{thebibliography}{9}\\bibitem{a} B\\end{thebibliography}"
        "\\appendix\\section{B}\\bibliographystyle{plain}\\bibliography{refs}\\printbibliography[title=x] two"
    )
    assert paper(CLASS + text).text == "\\section{A} one\\appendix\\section{B} two"
    assert paper(CLASS + "\\section{A} one\\begin{thebibliography}{9}\\bibitem{a} B").text == "\\section{A} one"


def test_inputs_are_put_in_their_place() -> None:
    text = (
        f"{CLASS}\\section{{A}}\\input{{part}} \\input part2.tex \\include{{sub/c}} \\input{{none}} % \\input{{part}}"
    )
    files = {"part.tex": "one% c", "part2.tex": "two", "sub/c.tex": "\\input{d}", "sub/d.tex": "four"}
    found = paper_text(decoded({"main.tex": text, **files}), "main.tex", 1 << 20, False)
    assert found.text == "\\section{A}one two four \\input{none} " and found.missing == 1


def test_own_style_files_define_macros() -> None:
    found = paper("\\documentclass{a}\\usepackage{own,other}\\begin{document}\\section{A}\\x", own_sty="\\def\\x{X}")
    assert found.text == "\\section{A}X"


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "~/x", "|ls", "a\0b"])
def test_nothing_outside_the_paper_is_read(path: str) -> None:
    found = paper(f"{CLASS}\\section{{A}}\\input{{{path}}}")
    assert found.text == f"\\section{{A}}\\input{{{path}}}" and found.missing == 1


def test_files_that_input_each_other_end() -> None:
    found = paper(f"{CLASS}\\section{{A}}\\input{{b}}", b_tex="b\\input{c}", c_tex="c\\input{b}\\input{main}")
    assert found.text == "\\section{A}bc\\input{b}\\input{main}" and found.missing == 2


def test_inputs_that_double_meet_the_limit() -> None:
    files = {f"f{n}.tex": f"\\input{{f{n + 1}}}" * 2 for n in range(15)} | {"f15.tex": "x" * 100}
    with pytest.raises(TooLong):
        Inputs(files, 1 << 16).text_of("f0.tex")
    assert main_files(files) == ["f0.tex"]


def test_the_main_file_makes_a_document_and_is_no_part_of_another() -> None:
    files = {
        "a.tex": "\\section{x}",
        "main.tex": "\\documentclass{article}\\input{a}",
        "reply.tex": "\\documentclass{letter}",
        "wrap.tex": "\\input{main} and more",
    }
    assert main_files(files) == ["wrap.tex", "reply.tex"]
    assert main_files({"only.tex": "\\section{x}"}) == ["only.tex"]
    assert main_files({"a.tex": "\\input{b}", "b.tex": "\\input{a}"}) == ["a.tex", "b.tex"]


def test_a_subfile_gives_its_body() -> None:
    sub = "\\documentclass[main]{subfiles}\\begin{document}inside\\end{document}"
    assert paper(f"{CLASS}\\section{{A}}\\subfile{{s}}", s_tex=sub).text == "\\section{A}inside"


def test_the_title_is_kept() -> None:
    found = paper("\\title[short]{On \\emph{X}\n and Y}" + CLASS + "\\section{A}")
    assert found.title == "On \\emph{X} and Y"
