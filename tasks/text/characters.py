"""Code points of a text, and what each is: one flag for each property that signals ask for."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import numpy.typing as npt

from tasks.text.words import UNSPACED_BLOCKS

SPACE = 1  # `str.isspace`, where `str.split` splits
WORD = 2  # a letter, a digit or "_" (`\w`), or a combining mark behind one
LETTER = 4  # `str.isalpha`
UPPER = 8  # `str.isupper`
LOWER = 16  # `str.islower`, or title case
NUMERIC = 32  # `str.isnumeric`
UNSPACED = 64  # of a script without spaces between words
TERMINAL = 128  # ends a sentence
BULLET = 256  # opens the line of a list
_KNOWN = 512

# The paper does not define "bullet point". These are the characters that Unicode names BULLET, the shapes of common
# list styles, and the hyphen, en dash and asterisk of plain text. An em dash opens dialogue in many languages.
BULLETS = "•‣⁃⁌⁍∙◘◦⦾⦿·▪▫■□●○◆◇▶►▸➢➤✓✔-–*"
# Unicode's Sentence_Terminal (PropList.txt of version 15.1, without the full stop's vertical, small and leader forms
# and without signs of Buginese, Balinese and Coptic), and Khmer's signs for the end of sections: what datatrove 0.10.1
# takes for the end of a sentence (TERMINAL_PUNCTUATION in utils/text.py).
TERMINALS = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6 "
    "17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 "
    "2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB "
    "FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 "
    "111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 "
    "1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 "
    "16B44 16E98 1BC9F 1DA88"
)


def characters(ranges: str) -> frozenset[str]:
    """The characters in ranges of hexadecimal code points: ``"21 2E-2F"``."""
    spans = [span.partition("-") for span in ranges.split()]
    return frozenset(
        chr(code) for first, _, last in spans for code in range(int(first, 16), int(last or first, 16) + 1)
    )


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def flags_of(points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
    """The flags of each code point. A code point is looked up in Unicode once per process."""
    flags = _TABLE[points]
    if not flags.all():
        for code in np.unique(points[flags == 0]).tolist():
            _TABLE[code] = _flags(chr(code))
        flags = _TABLE[points]
    return flags


def _flags(character: str) -> int:
    tests = {
        SPACE: character.isspace(),
        WORD: character.isalnum() or character == "_" or unicodedata.category(character).startswith("M"),
        LETTER: character.isalpha(),
        UPPER: character.isupper(),
        LOWER: character.islower() or unicodedata.category(character) == "Lt",
        NUMERIC: character.isnumeric(),
        UNSPACED: any(first <= ord(character) <= last for first, last in UNSPACED_BLOCKS),
        TERMINAL: character in TERMINAL_CHARACTERS,
        BULLET: character in BULLETS,
    }
    return sum(flag for flag, holds in tests.items() if holds) | _KNOWN


TERMINAL_CHARACTERS = characters(TERMINALS)
_TABLE = np.zeros(sys.maxunicode + 1, np.uint16)
