"""Words: the definition, in every script, and their hashes."""

from __future__ import annotations

import re
import tarfile
import unicodedata
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import strategies

from tasks.text.similarity import count_common, jaccard, ngram_set
from tasks.text.words import hash_words, join_words, word_classes, word_spans


def words_of(text: str) -> list[str]:
    """The definition: ``\\w+`` and the marks behind, but every character of a script without spaces is a word."""
    found: list[str] = []
    word = ""
    for letter in f"{text.casefold()} ":
        mark = unicodedata.category(letter).startswith("M")
        whole = word_classes()[ord(letter)] == 2
        if not whole and (re.match(r"\w", letter) or (mark and word)):
            word += letter
            continue
        found += [word] if word else []
        word = ""
        found += [letter] if whole else []
    return found


def joined(text: str) -> list[str]:
    buffer, starts, ends = join_words(text)
    return [bytes(buffer[start:end]).decode() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


@hypothesis.settings(deadline=None)
@hypothesis.given(strategies.text(max_size=200))
@hypothesis.example("İstanbul ΟΔΟΣ ΟΔΟΣ. Straße ǅ ǈ")
@hypothesis.example("snake_case x² Ⅷ ½ ४२ 𝒜𝒷 汉字，abc汉字。x")
@hypothesis.example("ภาษาไทย ひらがなカタカナーﾊﾝｶｸ 한국어 བོད་ཡིག ខ្មែរ")
def test_words_are_those_of_the_definition(text: str) -> None:
    assert joined(text) == words_of(text)
    assert len(hash_words(text)) == len(words_of(text))


def test_words_of_real_texts_in_every_script(shared_data: Path) -> None:
    with tarfile.open(shared_data / "language-id" / "udhr" / "udhr2-utf8.tar.xz") as files:
        streams = [files.extractfile(member) for member in files if member.isfile()]
        texts = [stream.read().decode() for stream in streams if stream is not None]
    assert len(texts) > 300
    seen: dict[int, str] = {}
    for text in texts[::2]:
        words = words_of(text)
        assert joined(text) == words
        for word, number in zip(words, hash_words(text).tolist(), strict=True):
            assert seen.setdefault(number, word) == word, "two words have one hash"
    assert len(seen) > 50_000


def test_which_scripts_have_no_spaces() -> None:
    assert words_of("中文 word 한국어 ไทย") == ["中", "文", "word", "한국어", "ไ", "ท", "ย"]
    assert words_of("Привет мир, नमस्ते") == ["привет", "мир", "नमस्ते"]


def test_marks_are_part_of_words() -> None:
    for one, other in (("की", "का"), ("बिल", "बाल"), ("কি", "কা"), ("กิน", "กัน"), ("cafe\u0301s", "cafes")):
        assert hash_words(one).tolist() != hash_words(other).tolist()
        assert joined(one) == words_of(one)
    assert joined("cafe\u0301s \u0301 x\ufe0f \ufe0f") == ["cafe\u0301s", "x\ufe0f"]


@hypothesis.settings(deadline=None)
@hypothesis.given(
    strategies.lists(strategies.sampled_from("abcd"), max_size=12),
    strategies.lists(strategies.sampled_from("abcd"), max_size=12),
    strategies.integers(1, 4),
)
def test_the_jaccard_index_is_that_of_the_sets(left: list[str], right: list[str], width: int) -> None:
    def grams(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + width]) for i in range(max(len(words) - width + 1, 1))} if words else set()

    one, other = (ngram_set(hash_words(" ".join(words)), width) for words in (left, right))
    assert len(one) == len(grams(left)) and (np.diff(one.astype(object)) > 0).all()
    both, either = grams(left) & grams(right), grams(left) | grams(right)
    assert count_common(one, other) == len(both)
    assert jaccard(one, other) == (len(both) / len(either) if either else 0.0)


FOLDED = ["", "Straße und İstanbul", "ﬁne ﬀ 日本語です。 ไทย हिन्दी", "a\u0301 é E\u0301", "İİ ŉ x\U0001f600y ᾳ"]


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(strategies.text(strategies.sampled_from("aAßİŉﬃ 日ไ\u0301.😀_9")) | strategies.sampled_from(FOLDED))
def test_places_are_those_of_the_words_in_the_text_itself(text: str) -> None:
    hashes, starts, ends = word_spans(text)
    assert hashes.tolist() == hash_words(text).tolist()
    buffer, first, behind = join_words(text)
    joined = [buffer[a:b].tobytes().decode() for a, b in zip(first, behind)]
    stored = text.encode()
    own = [stored[start:end].decode().casefold() for start, end in zip(starts, ends)]
    # A character that folds to several ones can be part of two words: then both have it.
    assert len(own) == len(joined)
    assert all(folded in whole for folded, whole in zip(joined, own))
