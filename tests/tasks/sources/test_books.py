"""Books of real folders and archives; editions of one book are found, two books of one author are not."""

from __future__ import annotations

import gzip
import io
import random
import re
import tarfile
import textwrap
from pathlib import Path

import pytest

from infra.outcomes import Document, Failed, Kept, Outcome, read_all
from tasks.near_duplicates.config import NearDuplicateConfig
from tasks.sources.books import BooksConfig, read_books
from tests.tasks.near_duplicates.choosing import fates_of
from tests.tasks.sources.containers.made import COMPRESSIONS, tar, zipped


def read(data: bytes, **config: object) -> list[Outcome]:
    return list(read_all(read_books(io.BytesIO(data), "x", BooksConfig.model_validate(config))))


def documents(outcomes: list[Outcome]) -> list[Document]:
    return [outcome.document for outcome in outcomes if isinstance(outcome, Kept)]


def reasons(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome.reason) for outcome in outcomes if not isinstance(outcome, Kept)]


@pytest.fixture(scope="module")
def books(shared_data: Path) -> dict[str, bytes]:
    """The text files of the sample of books."""
    with tarfile.open(shared_data / "books" / "books.tar.xz") as archive:
        members = [member for member in archive if member.isfile() and member.name.endswith(".txt")]
        return {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def test_a_real_archive_is_read_whole(shared_data: Path, books: dict[str, bytes]) -> None:
    outcomes = read((shared_data / "books" / "books.tar.xz").read_bytes(), licence="CC0-1.0")
    found = {str(one.metadata["path"]): one for one in documents(outcomes)}
    assert found.keys() == books.keys() and set(reasons(outcomes)) == {"not_text"}
    for path, data in books.items():
        words = data.decode("utf-8", "replace").split()
        if "�" not in data.decode("utf-8", "replace") and "botchan" not in path:
            assert [word.strip("\ufeff") for word in words if word.strip("\ufeff")] == found[path].text.split()
        assert "Project Gutenberg" not in found[path].text
        assert found[path].licence == "CC0-1.0" and found[path].id.startswith(f"books/{path}@")


def test_alone_and_in_archives_a_book_has_one_text() -> None:
    text = "A first line.\r\n\r\nA second, café.\r\n".encode("cp1252")
    inputs = [compress(text) for compress in COMPRESSIONS.values()]
    inputs += [tar({"Writer, A. - A Title.epub.txt": text}), zipped({"Writer, A. - A Title.epub.txt": text})]
    read_once = [document for data in inputs for document in documents(read(data))]
    assert {one.text for one in read_once} == {"A first line.\n\nA second, café."} and len(read_once) == len(inputs)
    assert (read_once[-1].metadata["title"], read_once[-1].metadata["author"]) == ("A Title", "Writer, A.")


def test_a_gutenberg_text_declares_its_encoding() -> None:
    head = "The Project Gutenberg EBook of X\nTitle: X\nCharacter set encoding: ISO-8859-1\n"
    head += "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n"
    [document] = documents(
        read((head + "Été à l'hôtel\n*** END OF THE PROJECT GUTENBERG EBOOK X ***").encode("latin-1"))
    )
    assert (document.text, document.metadata["title"]) == ("Été à l'hôtel", "X")


def test_mistakes_cost_themselves() -> None:
    noise = random.Random(3).randbytes(3000)
    files = {
        "a.txt": b"good\n",
        "b.txt": noise,
        "c.txt": b"x" * (2 << 20),
        "d.epub": b"PK",
        "e.txt": b" \n",
        "f.txt": b"last",
    }
    for archive in (tar(files), zipped(files)):
        outcomes = read(archive, max_file_bytes=1 << 20)
        assert reasons(outcomes) == ["undecodable", "file_too_large", "not_text", "empty_text"]
        assert [one.text for one in documents(outcomes)] == ["good", "last"]
    line = b"x" * (20 << 20)
    for data in (line, gzip.compress(line, 1)):
        [fault] = read(data)
        assert isinstance(fault, Failed) and fault.reason == "file_too_large"
    assert reasons(read(gzip.compress(noise)[:-9])) == ["truncated"]


MODERN = [("to-day", "today"), ("to-morrow", "tomorrow"), ("colour", "color"), ("honour", "honor"), ("shew", "show")]
MODERN += [("upon", "on"), ("whilst", "while"), ("connexion", "connection"), ("grey", "gray"), ("towards", "toward")]
MODERN_FRENCH = [("poëte", "poète"), ("siége", "siège"), ("collége", "collège"), ("très-", "très "), ("avoit", "avait")]


def edition(text: str) -> str:
    """Another edition: spelling modernised, lines and paragraphs wrapped anew, and a preface."""
    for old, new in MODERN + MODERN_FRENCH:
        text = re.sub(rf"\b{old}", new, text)
    paragraphs = [textwrap.fill(" ".join(one.split()), 60) for one in text.split("\n\n")]
    preface = (
        "PREFACE TO THIS EDITION\n\n"
        + "The editor thanks the library for its copy. " * 3
        + " ".join(f"Note {number} explains a word of the text." for number in range(100))
    )
    return preface + "\n\n" + "\n\n".join(paragraphs)


# One word in nineteen of Genesis: a 3-gram is the same where three words are.
HEAVY = [
    ("unto", "to"),
    ("thee", "you"),
    ("thou", "you"),
    ("thy", "your"),
    ("shalt", "shall"),
    ("ye", "you"),
    ("art", "are"),
]
HEAVY += [("hath", "has"), ("saith", "says"), ("spake", "spoke"), ("begat", "fathered"), ("(\\w+)eth", r"\1es")]


@pytest.mark.parametrize(("threshold", "heavy"), [(0.9, False), (0.73, True)])
def test_editions_are_found_and_other_books_are_not(books: dict[str, bytes], threshold: float, heavy: bool) -> None:
    chosen = [path for path in books if path.startswith("genesis/" if heavy else ("fra/", "gutenberg/", "genesis/"))]
    texts = [one.text[:50_000] for path in chosen for one in documents(read(books[path]))]
    # Several of one author.
    speeches = [
        one.text for path in books if re.search("Roosevelt|Reagan", path) for one in documents(read(books[path]))
    ]
    editions = [edition(text) for text in texts]
    if heavy:
        for old, new in HEAVY:
            editions = [re.sub(rf"\b{old}\b", new, text) for text in editions]
    fates = fates_of([*texts, *speeches, *editions], NearDuplicateConfig(similarity="containment", threshold=threshold))
    assert len(speeches) > 8 and all(fate.stays for fate in fates[len(texts) : -len(editions)])
    for fate, edited in zip(fates, fates[-len(editions) :]):
        # The longer one stays.
        gone, other = (edited, fate) if fate.stays else (fate, edited)
        assert not gone.stays and other.stays and gone.match == other.id
        assert gone.similarity is not None and gone.similarity > threshold + 0.05
    assert not heavy or min(fate.similarity or 1 for fate in fates if not fate.stays) < 0.9
