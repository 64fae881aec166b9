r"""arXiv's archives: each paper a document, and a mistake in one is an entry that costs no other."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, read_all
from tasks.sources.arxiv import ArxivConfig, read_arxiv
from tests.tasks.sources.containers.made import COMPRESSIONS, tar, zipped

TEX = (
    "\\documentclass{article}\n\\newcommand{\\R}{\\mathbb{R}}\n\\title{T}\\begin{document}Abstract.\n"
    "\\section{Café}\nSome text in $\\R$, 50\\% of it. % note\n"
    "\\begin{thebibliography}{1}x\\end{thebibliography}\n\\end{document}\n"
)
TEXT = "\\section{Café}\nSome text in $\\mathbb{R}$, 50\\% of it."


def read(data: bytes, **config: object) -> list[Outcome]:
    return list(read_all(read_arxiv(io.BytesIO(data), "x", ArxivConfig.model_validate(config))))


def documents(outcomes: list[Outcome]) -> list[Document]:
    return [outcome.document for outcome in outcomes if isinstance(outcome, Kept)]


def reasons(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome.reason) for outcome in outcomes if not isinstance(outcome, Kept)]


def test_an_archive_of_papers() -> None:
    several = tar(
        {"ms.tex": TEX.replace("Some", "\\input{part}Other").encode(), "part.tex": b"", "fig.png": b"\x89PNG"}
    )
    papers = {
        "2301/2301.00001.gz": gzip.compress(TEX.encode()),
        "2301/2301.00002.gz": gzip.compress(several),
        "2301/2301.00003.pdf": b"%PDF-1.5",
        "2301/2301.00004.gz": gzip.compress(b"%PDF-1.5 and more"),
        "9901/hep-th9901005.gz": gzip.compress(TEX.encode("latin-1")),
    }
    outcomes = read(tar(papers), licence="CC-BY-4.0")
    assert reasons(outcomes) == ["pdf", "pdf"]
    first, second, old = documents(outcomes)
    assert (first.id, first.text, first.url) == ("arxiv/2301.00001", TEXT, "https://arxiv.org/abs/2301.00001")
    assert (first.date, first.licence, first.metadata["title"]) == ("2023-01-01", "CC-BY-4.0", "T")
    assert second.text == TEXT.replace("Some", "Other")
    assert (old.id, old.text, old.date) == ("arxiv/hep-th/9901005", TEXT, "1999-01-01")


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_one_file_is_a_paper(compress: object) -> None:
    [document] = documents(read(compress(TEX.encode())))  # type: ignore[operator]
    assert document.text == TEXT and document.url is None


def test_open_files_of_one_folder_are_a_paper_and_folders_are_papers() -> None:
    two = {"a/main.tex": TEX.encode(), "a/x.tex": b"part", "b/main.tex": TEX.replace("Some", "Any").encode()}
    for archive in (tar(two), zipped(two)):
        outcomes = read(archive)
        assert len(documents(outcomes)) == 2 and reasons(outcomes) == ["part_of_paper"]
    one = {"main.tex": TEX.replace("Some", "\\input{s/one}").encode(), "s/one.tex": b"Any"}
    [document] = documents(read(tar(one)))
    assert "Any text" in document.text


def test_the_book_is_read_whole(shared_data: Path) -> None:
    outcomes = read((shared_data / "latex" / "hott-tex.tar.xz").read_bytes())
    [book] = documents(outcomes)
    assert book.metadata["main_file"] == "hott-a4.tex" and book.metadata["title"] == (
        "Homotopy Type Theory: Univalent Foundations of Mathematics"
    )
    assert len(book.text) > 800_000 and int(book.metadata["macros_expanded"] or 0) > 7_000
    assert "\\jdeq" not in book.text and "\\equiv" in book.text
    assert set(reasons(outcomes)) == {"part_of_paper", "not_latex"}


ENCODINGS = [
    ("latin-1", "latin1", "Gödel café naïve"),
    ("cp1252", "ansinew", "Gödel — “café”"),
    ("iso8859-2", "latin2", "Gödel Erdős Łódź"),
    ("koi8-r", "koi8-r", "Привет, мир"),
    ("cp1251", "cp1251", "Привет, мир"),
    ("utf-8", "latin1", "Gödel Привет 数学"),
    ("utf-16", "utf8", "Gödel Привет 数学"),
]


@pytest.mark.parametrize(("codec", "declared", "words"), ENCODINGS)
def test_any_encoding_is_read(codec: str, declared: str, words: str) -> None:
    preamble = f"\\documentclass{{a}}\\usepackage[{declared}]{{inputenc}}\\begin{{document}}"
    text = f"{preamble}\\section{{A}} {words}\\end{{document}}"
    [document] = documents(read(text.encode(codec)))
    assert document.text == f"\\section{{A}} {words}"


MISTAKES = {
    "endless_macro": TEX.replace("\\newcommand{\\R}{\\mathbb{R}}", "\\def\\R{\\R x}").encode(),
    "no_section": b"\\documentclass{article}\\begin{document}A letter.\\end{document}",
    "truncated": gzip.compress(tar({"a.tex": TEX.encode() + random.Random(1).randbytes(900)}))[:600],
    "corrupt_member": gzip.compress(TEX.encode())[:40] + b"x" * 100,
    "not_latex": gzip.compress(b"plain words"),
    "expands_too_much": gzip.compress(tar({"a.sty": bytes(64 << 20)})),
    "unsafe_path": gzip.compress(tar({"../a.tex": TEX.encode()})),
    "paper_too_large": gzip.compress(
        tar(
            {f"f{n}.tex": (f"\\section{{x}}\\input{{f{n + 1}}}" * 2).encode() for n in range(30)}
            | {"f30.tex": b"\\begin"}
        )
    ),
    "undecodable": gzip.compress(b"\\documentclass{a}\\section{x}" + bytes([1, 2, 3, 0x81, 0xFF]) * 50),
}


@pytest.mark.parametrize("reason", MISTAKES)
def test_a_mistake_costs_one_paper(reason: str) -> None:
    names = ("2301.00001.gz", "2301.00002.gz", "2301.00003.gz")
    stored = MISTAKES[reason]
    wrong = stored if stored.startswith(b"\x1f\x8b") else gzip.compress(stored)
    good = [gzip.compress(TEX.replace("Some", word).encode()) for word in ("First", "Last")]
    outcomes = read(tar(dict(zip(names, (good[0], wrong, good[1]), strict=True))), max_paper_bytes=1 << 16)
    assert reasons(outcomes) == [reason]
    assert [document.id for document in documents(outcomes)] == ["arxiv/2301.00001", "arxiv/2301.00003"]
    [bad] = [outcome for outcome in outcomes if not isinstance(outcome, Kept)]
    assert "2301.00002" in bad.example and bad.bytes == len(wrong)
    assert isinstance(bad, Dropped) or (isinstance(bad, Failed) and bad.offset)


def test_letters_are_kept_where_the_recipe_says_so() -> None:
    outcomes = read(MISTAKES["no_section"], without_sections="keep")
    assert [document.text for document in documents(outcomes)] == ["A letter."]


def test_documents_do_not_depend_on_the_name_of_their_input() -> None:
    first, second = (list(read_all(read_arxiv(io.BytesIO(TEX.encode()), name, ArxivConfig()))) for name in "ab")
    assert first == second and documents(first)


def test_supplements_that_are_documents_are_named() -> None:
    supplement = TEX.replace("Some text", "More")
    packed = gzip.compress(tar({"main.tex": TEX.encode() * 2, "supplement.tex": supplement.encode()}))
    [paper] = documents(read(tar({"2301.00001.gz": packed})))
    assert paper.metadata["other_documents"] == "supplement.tex"
    assert "other_documents" not in documents(read(gzip.compress(TEX.encode())))[0].metadata


def test_a_file_without_a_name_has_its_place_in_messages() -> None:
    [failed] = read(b"\\documentclass{article}\\def\\x{\\x\\x}\\begin{document}\\section{A}\\x\\end{document}")
    assert isinstance(failed, Failed) and failed.example.startswith("x, byte 0: the macro")
