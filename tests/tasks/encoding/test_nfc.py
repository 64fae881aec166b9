"""The normal form C is that of the library `tokenizers`."""

from __future__ import annotations

import random
import unicodedata

import pyarrow as pa
import tokenizers

from tasks.encoding.nfc import normalised, touched_characters


def require_same(texts: list[str]) -> list[str]:
    """Returns the normal forms."""
    found = normalised(pa.array(texts))
    theirs = [tokenizers.normalizers.NFC().normalize_str(text) for text in texts]
    assert [ascii(found.get(row, text)) for row, text in enumerate(texts)] == [ascii(text) for text in theirs]
    return theirs


def test_all_other_characters_are_never_touched() -> None:
    touched = set(touched_characters())
    others = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000 and chr(number) not in touched]
    # In two orders, so that each has another neighbour.
    for text in ("".join(others), "".join(reversed(others))):
        assert tokenizers.normalizers.NFC().normalize_str(text) == text == unicodedata.normalize("NFC", text)
    assert normalised(pa.array(["".join(others)])) == {}


def test_it_is_the_form_of_tokenizers() -> None:
    rng = random.Random(3)
    touched = touched_characters()
    bases = ["e", "A", "\u1100", "\uac00", "\u0bc6", "\u1b05", "\U000110a5", "q", "\u0378", "\U0003fffe"]
    texts = ["plain", "", "é"]
    texts += [
        "".join(rng.choice(touched if rng.random() < 0.6 else bases) for _ in range(rng.randrange(9)))
        for _ in range(20_000)
    ]
    texts += [f"a{one}\u0301\u0316" for one in touched] + [f"\u0301{one}" for one in touched]
    forms = require_same(texts)
    # Else Python's own would do.
    assert any(form != unicodedata.normalize("NFC", text) for form, text in zip(forms, texts, strict=True))
