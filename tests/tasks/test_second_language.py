"""CLD2 beside fastText: its own labels under fastText's names, for any text, and whether the two agree."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pycld2
import pytest

from tasks.second_language import SECOND_LANGUAGE_SCHEMA, SecondLanguageConfig, identify_again

ENGLISH = "The mill stands by the river and its wheel has turned for three hundred years. "
GERMAN = "Die Mühle steht am Fluss, und ihr Rad hat sich seit dreihundert Jahren gedreht. "


def identify(texts: list[str], first: list[str | None] | None = None) -> list[dict[str, Any]]:
    columns = {
        "text": pa.array(texts, pa.string()),
        "language.label": pa.array(first or [None] * len(texts), pa.string()),
    }
    table = identify_again(pa.table(columns), SecondLanguageConfig())
    assert table.schema == SECOND_LANGUAGE_SCHEMA
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_labels_are_those_of_cld2_under_the_names_of_fasttext(shared_data: Path) -> None:
    with tarfile.open(shared_data / "language-id" / "lingua75" / "lingua75.tar.xz") as archive:
        for language, least in [("he", 0.99), ("zh", 0.95), ("en", 0.98), ("de", 0.98), ("tn", 0.9), ("hr", 0.6)]:
            stream = archive.extractfile(f"{language}/sentences.txt")
            assert stream is not None
            lines = stream.read().decode().splitlines()[:200]
            labels = [row["label"] for row in identify(lines)]
            assert labels.count(language) / len(lines) >= least
            if language == "de":
                own = [pycld2.detect(line, isPlainText=True, bestEffort=True)[2][0][1] for line in lines]
                assert labels == own


def test_agreement_is_a_number_for_rules() -> None:
    texts = [ENGLISH * 3, GERMAN * 3, GERMAN * 3, ENGLISH * 3, "12345 +-", ENGLISH]
    rows = identify(texts, ["en", "de", "nl", None, "en", "sco"])
    assert [row["agrees"] for row in rows] == [1, 1, 0, None, None, 0]
    assert [row["label"] for row in rows] == ["en", "de", "de", "en", None, "en"]
    assert rows[4]["share"] is None and rows[0]["share"] > 0.9
    assert 0.3 < identify([ENGLISH * 5 + GERMAN * 5])[0]["share"] < 0.8
    assert identify([]) == []


@pytest.mark.parametrize("label", ["hr", "bs", "sr", "sh"])
def test_members_of_a_macrolanguage_agree(label: str) -> None:
    text = "Mlin stoji kraj rijeke i njegovo se kolo okreće već tri stotine godina bez ijednog dana odmora. " * 3
    [row] = identify([text], [label])
    assert row["label"] in ("hr", "bs", "sr") and row["agrees"] == 1


def test_every_character_may_stand_in_a_text() -> None:
    """CLD2 refuses controls and noncharacters; a text with all characters that Unicode has is identified."""
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    for start in range(0, len(every), 4096):
        identify([every[start : start + 4096]])
    for character in ("\0", "\x85", "\x7f", "\ufffe", "\U0010ffff", "\ufdd0", "\x0b", "\u2028", "\x1f"):
        [row] = identify([ENGLISH[:20] + character + ENGLISH[20:] * 3])
        assert row["label"] == "en"
    assert [row["label"] for row in identify(["", " \n", "\0"])] == [None, None, None]


def test_markup_is_text() -> None:
    assert identify([f'<p lang="de">{ENGLISH}</p>'])[0]["label"] == "en"
