"""Words with their places: the words are those that texts are compared by, and the places those of the text itself."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies

from tasks.text.word_spans import word_spans
from tasks.text.words import hash_words, join_words

TEXTS = ["", "Straße und İstanbul", "ﬁne ﬀ 日本語です。 ไทย हिन्दी", "a\u0301 é E\u0301", "İİ ŉ x\U0001f600y ᾳ"]


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(strategies.text(strategies.sampled_from("aAßİŉﬃ 日ไ\u0301.😀_9")) | strategies.sampled_from(TEXTS))
def test_the_words_are_those_of_hash_words(text: str) -> None:
    hashes, starts, ends = word_spans(text)
    assert hashes.tolist() == hash_words(text).tolist()
    buffer, first, behind = join_words(text)
    joined = [buffer[a:b].tobytes().decode() for a, b in zip(first, behind)]
    stored = text.encode()
    own = [stored[start:end].decode().casefold() for start, end in zip(starts, ends)]
    # A character that folds to several ones can be part of two words: then both have it.
    assert len(own) == len(joined)
    assert all(folded in whole for folded, whole in zip(joined, own))
