from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from itertools import groupby

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies

from tasks.text import lines as module
from tasks.text.lines import Lines, hash_lines, hash_paragraphs
from tasks.text.normalise import PUNCTUATION
from tests.tasks.text.hashing import line_for_hashing

TEXTS = strategies.text(
    strategies.one_of(
        strategies.sampled_from("\n\n\n \t\r\x1c\x85\xa0#.aBÉéΣΣσςİ1２٣—…、.’" + "".join(PUNCTUATION)),
        strategies.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


def sha1_prefix(line: str) -> int:
    return int.from_bytes(hashlib.sha1(line.encode()).digest()[:8], "little")


def expected(texts: Sequence[str | None]) -> list[tuple[int, int, int, int]]:
    """Document, start, end and hash of every line, one at a time."""
    found = []
    for number, text in enumerate(texts):
        place = 0
        for line in text.split("\n") if text else []:
            end = place + len(line.encode())
            found.append((number, place, end, sha1_prefix(line_for_hashing(line))))
            place = end + 1
    return found


def expected_paragraphs(texts: Sequence[str | None]) -> list[tuple[int, int, int, int]]:
    """The same of every run of lines that are not blank; a text of blank lines is one paragraph."""
    found = []
    for number, text in enumerate(texts):
        lines = [(line, start, end) for line, (_, start, end, _) in zip((text or "").split("\n"), expected([text]))]
        runs = [list(run) for blank, run in groupby(lines, lambda line: not line[0].strip()) if not blank]
        for run in runs:
            key = "\n".join(line_for_hashing(line) for line, _, _ in run)
            found.append((number, run[0][1], run[-1][2], sha1_prefix(key)))
        if lines and not runs:
            found.append((number, 0, lines[-1][2], sha1_prefix("")))
    return found


def hashed(
    column: pa.ChunkedArray, units: Callable[[pa.ChunkedArray], Lines] = hash_lines
) -> list[tuple[int, int, int, int]]:
    lines = units(column)
    return list(zip(*(values.tolist() for values in (lines.document, lines.start, lines.end, lines.hash))))


@hypothesis.settings(deadline=None)  # the first example pays for tables and compilation
@hypothesis.given(strategies.lists(strategies.one_of(strategies.none(), TEXTS), max_size=6), strategies.integers(0, 6))
def test_lines_are_those_of_cc_net_wherever_a_column_is_cut(texts: list[str | None], cut: int) -> None:
    whole = pa.array(["before", *texts], pa.string()).slice(1)
    assert hashed(pa.chunked_array([whole.slice(0, cut), whole.slice(cut)])) == expected(texts)
    assert hashed(pa.chunked_array([whole.cast(pa.large_string())])) == expected(texts)
    assert hashed(pa.chunked_array([whole.slice(0, cut), whole.slice(cut)]), hash_paragraphs) == (
        expected_paragraphs(texts)
    )


def test_a_line_is_stripped_lower_case_and_without_unicode_punctuation() -> None:
    [(_, _, _, found)] = hashed(pa.chunked_array([["\u3000Hello, WORLD! 2019 — Été…\x07 "]]))
    assert found == sha1_prefix("hello, world! 0000  été")


@pytest.mark.parametrize("text", ["ΟΔΟΣ ΣΑΣ\nΣ\nΑΣ. ΣΑ", "İΣ ΑΣİ İ\nΣİΣ", "ΑΣ\u0301Α ΑΣ’Α", "αΣ"])
def test_the_form_of_a_sigma_is_that_of_its_place(text: str) -> None:
    assert hashed(pa.chunked_array([["x\ny", text, "Σ"]])) == expected(["x\ny", text, "Σ"])


def test_every_character_becomes_what_it_becomes_in_a_line() -> None:
    """Every digit is 0, and one letter alone has two characters in lower case, of which the kernel knows."""
    assert [code for code in range(sys.maxunicode + 1) if len(chr(code).lower()) > 1] == [0x130]
    digits = [chr(code) for code in range(sys.maxunicode + 1) if re.fullmatch(r"\d", chr(code))]
    assert len(digits) > 600
    assert {found for *_, found in hashed(pa.chunked_array([digits]))} == {sha1_prefix("0")}
    texts = []
    for first in range(0, sys.maxunicode + 1, 64):
        characters = [chr(code) for code in range(first, first + 64) if not 0xD800 <= code < 0xE000]
        texts.append("".join(f"x{character}x\n{character}" for character in characters))
    assert hashed(pa.chunked_array([texts])) == expected(texts)


def test_a_column_without_lines_has_none() -> None:
    assert hashed(pa.chunked_array([], pa.string())) == hashed(pa.chunked_array([["", None]], pa.string())) == []
    assert hashed(pa.chunked_array([["", None]], pa.string()), hash_paragraphs) == []


def test_lines_are_hashed_in_portions_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work grows with the bytes, and the memory that the hashes need does not."""
    given: list[int] = []
    hash_slices = module.sha1_prefixes

    def counting(buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        given.append(len(buffer))
        return hash_slices(buffer, starts, ends)

    monkeypatch.setattr(module, "sha1_prefixes", counting)
    texts = ["\n".join(f"line {number} of {size}" * 20 for number in range(size)) for size in (3000, 6000)]
    for text in texts:
        given.clear()
        assert hashed(pa.chunked_array([[text, "last"]])) == expected([text, "last"])
        assert max(given) <= 1 << 20
        assert sum(given) <= len(text) + len("\nlast")
