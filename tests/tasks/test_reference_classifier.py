"""Scores of a classifier: fastText's own probabilities of a label, for a text in one line."""

from __future__ import annotations

from pathlib import Path

import fasttext
import pyarrow as pa
import pytest

from tasks.fasttext_training import train
from tasks.model_files import model_files
from tasks.reference_classifier import (
    REFERENCE_SCHEMA,
    ReferenceClassifierConfig,
    load_classifier,
    score_references,
)
from tasks.text_classifier.config import TextClassifierConfig

CONFIG = ReferenceClassifierConfig()
OPTIONS = TextClassifierConfig(positive=("a",), learning_rate=1.0, dimensions=10).options()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    lines = [
        f"__label__positive mill river wheel {n % 7}\n__label__negative shop cart sale {n % 7}\n" for n in range(99)
    ]
    (folder / "lines").write_text("".join(lines))
    train(folder / "lines", OPTIONS, folder / "model.bin")
    (folder / "lines").unlink()
    (folder / "report.json").write_text("{}")
    return folder


def scores(texts: list[str], folder: Path, config: ReferenceClassifierConfig = CONFIG) -> list[float | None]:
    files = {path.name: path for path in folder.iterdir()}
    table = score_references(pa.table({"text": pa.array(texts, pa.string())}), config, load_classifier(config, files))
    assert table.schema == REFERENCE_SCHEMA
    found: list[float | None] = table["score"].to_pylist()
    return found


def test_scores_are_the_probabilities_of_the_label(model: Path) -> None:
    texts = ["the mill by the river", "a sale in the shop", "mill shop", "x"]
    found = scores(texts, model)
    assert found[0] is not None and found[1] is not None and found[0] > 0.9 > 0.1 > found[1]
    own = fasttext.load_model(str(model / "model.bin")).f
    for text, score in zip(texts, found, strict=True):
        expected = {label: p for p, label in own.predict(text + "\n", 2, 0.0, "strict")}
        assert score == round(expected["__label__positive"], 4)
    other = scores(texts, model, ReferenceClassifierConfig(label="negative"))
    assert [a + b for a, b in zip(found, other) if a is not None and b is not None] == pytest.approx(
        [1.0] * 4, abs=2e-4
    )


def test_a_text_is_scored_in_one_line_as_it_was_trained_on(model: Path) -> None:
    one = scores(["mill river\tshop sale"], model)
    for end in ("\n", "\r\n", "\u2028", "\x85", "\n\n", "\x0b"):
        assert scores([f"\n mill river{end}shop sale{end}"], model) == one
    assert scores(["mill </s> shop"], model) != scores(["mill"], model)
    assert scores(["mill __label__negative river"], model)[0] == scores(["mill _ _label__negative river"], model)[0]


def test_text_without_words_has_no_score(model: Path) -> None:
    assert scores(["", " \n\t\u3000", "mill"], model)[:2] == [None, None]
    assert scores([], model) == []


def test_models_that_do_not_fit_are_refused_by_name(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.bin has no label wiki: set label to one of (positive|negative), "):
        scores(["x"], model, ReferenceClassifierConfig(label="wiki"))
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"model\.bin is not a fastText model"):
        scores(["x"], tmp_path)
    with pytest.raises(ValueError, match="is one fastText file, not 0"):
        load_classifier(CONFIG, {"report.json": tmp_path / "report.json"})
    assert model_files(score_references, str(model)).local.keys() == {"model.bin", "report.json"}
