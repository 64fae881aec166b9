"""The normal form C is that of the library `tokenizers`."""

from __future__ import annotations

import random
import unicodedata

import tokenizers

from tasks.encoding.nfc import NEWER, normalised


def test_the_ranges_hold_every_newer_character_that_normalisation_touches() -> None:
    characters = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    canonical = {
        one: unicodedata.decomposition(one) for one in characters if unicodedata.decomposition(one)[:1] not in ("", "<")
    }
    parts = {chr(int(part, 16)) for text in canonical.values() for part in text.split()}
    touched = [one for one in characters if unicodedata.combining(one) or one in canonical or one in parts]
    newer = [one for one in touched if unicodedata.ucd_3_2_0.category(one) == "Cn"]
    assert len(newer) > 700
    assert [one for one in newer if not any(first <= ord(one) <= last for first, last in NEWER)] == []


def test_it_is_the_form_of_tokenizers() -> None:
    rng = random.Random(3)
    marks = [chr(number) for number in range(0x300, 0x110000) if unicodedata.combining(chr(number))]
    bases = [
        "e",
        "A",
        "\u212b",
        "\u1100",
        "\u1161",
        "\u11a8",
        "\u0bc6",
        "\u0bbe",
        "\uf900",
        "\u0958",
        "\U0001d15e",
        "q",
    ]
    texts = [
        "".join(rng.choice(marks if rng.random() < 0.6 else bases) for _ in range(rng.randrange(9)))
        for _ in range(20_000)
    ]
    texts += [f"a{one}\u0301\u0316" for one in marks] + [f"\u0301{one}" for one in marks]
    theirs = tokenizers.normalizers.NFC()
    found = normalised(texts)
    assert [ascii(one) for one in found] == [ascii(theirs.normalize_str(text)) for text in texts]
    # Else Python's own would do.
    assert any(one != unicodedata.normalize("NFC", text) for one, text in zip(found, texts, strict=True))
