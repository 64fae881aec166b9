"""Words of texts in scripts without spaces, beside what ICU gives for each run by itself."""

from __future__ import annotations

import random

import pytest
from icu4py import breakers

from tasks.heuristics import HeuristicsConfig, signals_of
from tasks.text import segments
from tasks.text.segments import segment

# Letters of scripts without spaces and of others, signs, marks, and characters beyond the first plane.
_PARTS = "中文很好日本アカひらภาษาไทยง่ายក្ខမြန်မາລ aZ1.,!?「」。'-_\u0301\u200d👩👧😀𠀋\n\r\u3000\u00a0"


def words(text: str) -> list[str]:
    found = segment(text)
    return [text[start:end] for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天😀😀😀中文", ["今天😀😀😀", "中文"]),
        ("😀😀中文", ["😀😀中文"]),
        ("𠀋中文。😀 mill", ["𠀋", "中文。😀", "mill"]),
        ("👩\u200d👧 ภาษาไทย", ["👩\u200d👧", "ภาษา", "ไทย"]),
    ],
)
def test_words_beside_characters_beyond_the_first_plane(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert signals_of(text, HeuristicsConfig())["word_count"] == len(expected)


def test_runs_are_cut_as_each_by_itself() -> None:
    """ICU gets many runs together, and counts in units of UTF-16: neither moves a word."""
    rng = random.Random(3)
    for _ in range(300):
        text = "".join(rng.choices(_PARTS, k=rng.randrange(1, 120)))
        apart = [word for run in text.split() for word in words(run)]
        assert words(text) == apart, text
        # A run is its words, and each of them begins where ICU breaks.
        for run in text.split():
            found = words(run)
            assert "".join(found) == run
            starts = {0}
            for piece in breakers.WordBreaker(run, "root"):
                starts.add(max(starts) + len(piece))
            place = 0
            for word in found:
                assert place in starts, run
                place += len(word)


def test_many_short_runs_are_few_calls_of_icu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a breaker takes as long as breaking hundreds of characters."""
    made: list[int] = []

    def counted(text: str, locale: str) -> breakers.WordBreaker:
        made.append(len(text))
        return breakers.WordBreaker(text, locale)

    monkeypatch.setattr(segments, "WordBreaker", counted)
    assert len(words("中\n" * 100_000)) == 100_000
    assert len(made) < 20 and sum(made) <= 200_000
