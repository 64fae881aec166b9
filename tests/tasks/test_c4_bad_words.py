"""C4's rule about bad words, with a made list."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.c4_bad_words import C4BadWordsConfig, count_bad_words, load_bad_words


def lines(folder: Path, words: str, text: str) -> int:
    """How many lines of a text have one of the words."""
    (folder / "words.txt").write_text(words, encoding="utf-8")
    found = load_bad_words(C4BadWordsConfig(), {"words.txt": folder / "words.txt"})
    [count] = count_bad_words(pa.table({"text": [text]}), C4BadWordsConfig(), found)["lines"].to_pylist()
    return int(count)


def test_lines_with_an_entry_are_counted(tmp_path: Path) -> None:
    words = "darn\nheck it\nd+\n\n"
    assert lines(tmp_path, words, "Well, DARN it.\nOh darn, darn.\nAll is well.") == 2
    assert lines(tmp_path, words, "So heck it is.\nSo heck\nit is.") == 1  # an entry of two words, on one line
    assert lines(tmp_path, words, "A darning needle, undarned.") == 0  # part of a word
    assert lines(tmp_path, words, "A dd and (d+).") == 1  # no pattern
    assert lines(tmp_path, words, "darn it\nall is darn") == 0  # as there: at the very start or end


def test_a_file_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no word in it"):
        lines(tmp_path, "\n \n", "x")
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a list of words"):
        load_bad_words(C4BadWordsConfig(), {"words.txt": tmp_path / "words.txt"})
