"""Project Gutenberg's texts of every age without what is not the book."""

from __future__ import annotations

import pytest

from tasks.sources.gutenberg import without_boilerplate

BODY = (
    "CHAPTER I.\n\nIt was a dark night.\n\nEnd of chapters they called it, and *** stars *** shone.\n\n"
    + "More text.\n\n" * 50
)
HEADER = """The Project Gutenberg EBook of A Book, by A. Writer

This eBook is for the use of anyone anywhere at no cost.

Title: A Book
       With a Second Line

Author: A. Writer

Release Date: May 1, 2004 [EBook #972]
Language: English

"""
STARTS = [
    "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK ***",
    "*** START OF THIS PROJECT GUTENBERG EBOOK A BOOK ***",
    "***START OF THE PROJECT GUTENBERG EBOOK A BOOK***",
    "*** START OF THE PROJECT GUTENBERG EBOOK, A BOOK ***\n\n\nProduced by A. Volunteer and the Online\n"
    "Distributed Proofreading Team",
    "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK ***\nProduced by A. Person and the Distributed Proofreading Team",
    "*** START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK A BOOK ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK WITH A TITLE THAT IS\nVERY LONG INDEED ***",
    "**START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nWhy is this here?\n"
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN EBOOKS**START***\nWhy?\n"
    "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n\n\nThis etext was prepared by A. Volunteer.",
    '****     SMALL PRINT!     ****\nWhy?\n["Small Print" V.12.08.93]',
]
ENDS = [
    "*** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n\nlicence",
    "End of the Project Gutenberg EBook of A Book\n\n*** END OF THIS PROJECT GUTENBERG EBOOK A BOOK ***\n\n***** x",
    "End of Project Gutenberg's A Book, by A. Writer\n\n***END OF THE PROJECT GUTENBERG EBOOK A BOOK***",
    "End of The Project Gutenberg Etext of A Book",
    "End of this Project Gutenberg Etext of A Book",
    "Ende dieses Projekt Gutenberg Etextes",
    "Ende dieses Project Gutenberg EBooks Ein Buch",
    "Fin de Project Gutenberg Etext de Un Livre",
    "*** END OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK A BOOK ***",
    "*** START: FULL LICENSE ***\n\nTHE FULL PROJECT GUTENBERG LICENSE",
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_every_header_and_footer_goes(start: str, end: str) -> None:
    book = without_boilerplate(f"{HEADER}{start}\n\n\n{BODY}\n\n{end}\n")
    assert book.text.strip() == BODY.strip()
    assert (book.title, book.author, book.number, book.marks) == (
        "A Book With a Second Line",
        "A. Writer",
        "972",
        "both",
    )


def test_books_of_australia() -> None:
    head = "A Project Gutenberg of Australia eBook\n\nTitle: A Book\nAuthor: A. Writer\neBook No.: 0100021.txt\n\n"
    head += "To contact Project Gutenberg of Australia go to http://gutenberg.net.au\n\n"
    for end in ("This site is full of FREE ebooks - Project Gutenberg Australia", "Project Gutenberg Australia"):
        book = without_boilerplate(f"{head}{BODY}\n{end}\n")
        assert (book.text.strip(), book.title, book.marks) == (BODY.strip(), "A Book", "both")


def test_a_header_that_is_only_a_line_names_the_book() -> None:
    header = "**The Project Gutenberg Etext of The Devil's Book, by A. Writer**\n#3 in our series\n[Etext #972]\n"
    book = without_boilerplate(f"{header}{STARTS[6]}\n{BODY}")
    assert (book.title, book.author, book.number, book.marks) == ("The Devil's Book", "A. Writer", "972", "start")
    assert book.text.strip() == BODY.strip()


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        "Gutenberg printed in Mainz.\n\n" + BODY + "The end of Gutenberg",
        "*** START OF THE DAY ***\n" + BODY,
        BODY + "END OF THE PROJECT\n",
    ],
)
def test_any_other_text_stays(text: str) -> None:
    book = without_boilerplate(text)
    assert (book.text, book.marks, book.title) == (text, "none", None)


def test_marks_that_are_missing_cut_nothing() -> None:
    only_name = "A Project Gutenberg text without marks.\n\n" + BODY
    assert (without_boilerplate(only_name).text, without_boilerplate(only_name).marks) == (only_name, "missing")
    cut = without_boilerplate(HEADER + STARTS[0] + "\n\n" + BODY)
    assert (cut.text.strip(), cut.marks) == (BODY.strip(), "start")
    headless = without_boilerplate(BODY + "\n" + ENDS[0])
    assert (headless.text.strip(), headless.marks) == (BODY.strip(), "end")


def test_a_word_of_the_author_is_no_credit() -> None:
    body = "Produced at great cost, this book\nis mine.\n\n" + BODY
    assert without_boilerplate(HEADER + STARTS[0] + "\n\n" + body + ENDS[0]).text.strip() == body.strip()


def test_copyright_notices_between_parts_go() -> None:
    notice = "<<THIS ELECTRONIC VERSION OF THE COMPLETE WORKS OF A. WRITER IS\nCOPYRIGHT 1990.>>\n"
    book = without_boilerplate(HEADER + STARTS[0] + "\n\n" + BODY + notice + BODY + ENDS[0])
    assert book.text.strip() == (BODY + BODY).strip()


@pytest.mark.parametrize(
    "unit", ["*** START OF THE PROJECT GUTENBERG\n", "End\n", "* " * 10 + "\n", "<<THIS ELECTRONIC VERSION OF ", "\n"]
)
def test_many_marks_cost_no_more_than_their_length(unit: str) -> None:
    without_boilerplate(HEADER + unit * 20_000)


def test_books_of_one_file_are_all_kept() -> None:
    """Each has its header, its marks and the licence behind it, which is longer than a short book."""
    licence = "Section 1. General Terms of Use.\n\n" * 600
    books = [f"CHAPTER {number}.\n\n" + f"line {number}\n" * (5 if number == 2 else 500) for number in range(3)]
    text = ""
    for number, body in enumerate(books):
        title = HEADER.replace("A Book", f"Book {number}")
        text += f"{title}*** START OF THE PROJECT GUTENBERG EBOOK {number} ***\n\n{body}\n"
        text += f"*** END OF THE PROJECT GUTENBERG EBOOK {number} ***\n\n{licence}"
    found = without_boilerplate(text)
    assert found.text.split() == "\n\n".join(books).split()
    assert (found.books, found.marks) == (3, "both") and found.title is not None and found.title.startswith("Book 0")
