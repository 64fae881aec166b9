"""Languages of paragraphs: bytes that add up, whatever the lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.fasttext_model import FasttextModel
from tasks.language import LanguageConfig, load_language_model
from tasks.model_files import model_files
from tasks.paragraph_languages import PARAGRAPH_LANGUAGES_SCHEMA, ParagraphLanguagesConfig, identify_paragraphs

CONFIG = ParagraphLanguagesConfig()
ENGLISH = "The mill stands by the river and its wheel has turned for three hundred years without a rest."
GERMAN = "Die Mühle steht am Fluss, und ihr Rad hat sich seit dreihundert Jahren ohne Pause gedreht."
RUSSIAN = "Мельница стоит у реки, и её колесо вращается уже триста лет без единого дня отдыха и покоя."


@pytest.fixture(scope="module")
def model() -> FasttextModel:
    files = {name: Path(path) for name, path in model_files(identify_paragraphs, "bundled:lid.176.ftz").local.items()}
    return load_language_model(LanguageConfig(), files)


def identify(
    model: FasttextModel, texts: list[str], labels: list[str | None], config: ParagraphLanguagesConfig = CONFIG
) -> list[dict[str, Any]]:
    batch = pa.table({"text": pa.array(texts, pa.string()), "language.label": pa.array(labels, pa.string())})
    table = identify_paragraphs(batch, config, model)
    assert table.schema == PARAGRAPH_LANGUAGES_SCHEMA
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_bytes_by_language(model: FasttextModel) -> None:
    text = "\n".join([ENGLISH, RUSSIAN, "", GERMAN, ENGLISH, ENGLISH])
    [row] = identify(model, [text], ["en"])
    sizes = {"en": 3 * len(ENGLISH), "ru": len(RUSSIAN.encode()), "de": len(GERMAN.encode())}
    assert row["by_language"] == [{"label": label, "bytes": size} for label, size in sizes.items()]
    assert row["languages"] == 3 and row["share"] == round(sizes["en"] / sum(sizes.values()), 4)
    assert identify(model, [ENGLISH], ["en"])[0]["share"] == 1.0
    assert identify(model, [ENGLISH], ["fr"])[0]["share"] == 0.0


def test_short_lines_are_judged_together(model: FasttextModel) -> None:
    """A poem has lines of a few words, which say little alone."""
    poem = GERMAN.replace(" ", "\n")
    [row] = identify(model, [poem], ["de"])
    assert row["languages"] == 1 and row["by_language"] == [{"label": "de", "bytes": len(GERMAN.encode())}]
    alone = identify(model, [poem], ["de"], ParagraphLanguagesConfig(fewest_characters=1, least_score=0))
    assert alone[0]["languages"] > 1


def test_what_is_in_no_language_has_no_share(model: FasttextModel) -> None:
    rows = identify(model, ["", " \n\n", ENGLISH, "1 2 3"], [None, "en", None, "en"])
    assert [row["share"] for row in rows[:3]] == [None, None, None]
    assert [row["languages"] for row in rows[:3]] == [0, 0, 1]
    sure = ParagraphLanguagesConfig(least_score=1.0)
    assert identify(model, ["mill 7"], ["en"], sure)[0]["by_language"] == []
    assert identify(model, [], []) == []


def test_words_that_are_special_to_fasttext_are_text(model: FasttextModel) -> None:
    [row] = identify(model, [f"</s> {ENGLISH} __label__fr"], ["en"])
    assert row["share"] == 1.0


def test_each_line_is_given_to_the_model_once() -> None:
    given: list[str] = []

    class Recorder:
        def predict(self, line: str, *rest: object) -> list[tuple[float, str]]:
            given.append(line)
            return [(1.0, "__label__en")]

    texts = ["a\n" * 5000, "b" * 300 + "\n" + "c\n" * 30]
    identify(Recorder(), texts, ["en", "en"])
    assert sum(line.count(letter) for line in given for letter in "abc") == 5000 + 300 + 30
    assert max(map(len, given)) <= 302
