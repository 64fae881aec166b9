"""Where the variants of the heuristics differ, on made texts; what their config refuses; and what takes too long."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

import infra.stage
from infra.stage import MissingLibrary
from tasks.heuristics import HEURISTICS_SCHEMA, HeuristicsConfig, measure_heuristics
from tasks.heuristics.columns import REDPAJAMA_SIGNALS


def measured(text: str, language: str | None = None, **config: Any) -> dict[str, Any]:
    """What the stage stores about a text."""
    made = HeuristicsConfig.model_validate(config)
    batch = pa.table({"text": [text], "language.label": pa.array([language], pa.string())})
    found = measure_heuristics(batch.select(measure_heuristics.columns_of(made)), made)
    assert found.schema == HEURISTICS_SCHEMA
    row: dict[str, Any] = found.to_pylist()[0]
    return row


def test_a_mark_is_a_word_for_datatrove_alone() -> None:
    text = "One, two; three - four!"
    found = {name: measured(text, variant=name) for name in ("paper", "datatrove", "redpajama-v2")}
    assert {name: row["word_count"] for name, row in found.items()} == {"paper": 5, "datatrove": 4, "redpajama-v2": 4}
    # 4 of: One, two; three - four! and of: One , two ; three - four ! and of the same runs.
    shares = {name: row["alphabetic_word_fraction"] for name, row in found.items()}
    assert shares == {"paper": 4 / 5, "datatrove": 4 / 8, "redpajama-v2": 4 / 8}


def test_the_first_of_several_copies_counts_for_redpajama_alone() -> None:
    text = "one two three four five six one two three four five"
    covered = [
        measured(text, variant=name)["duplicate_5_gram_character_fraction"] for name in ("paper", "redpajama-v2")
    ]
    assert covered == [pytest.approx(19 / 41, abs=1e-6), pytest.approx(38 / 41, abs=1e-6)]
    # datatrove measures against all characters.
    found = measured(text, variant="datatrove")
    assert found["duplicate_5_gram_character_fraction"] == pytest.approx(19 / 51, abs=1e-6)


def test_datatrove_compares_n_grams_as_characters_and_passes_over_copies() -> None:
    same = measured("ab c d e f x a bc d e f", variant="datatrove")  # "abcdef" twice
    assert same["duplicate_5_gram_character_fraction"] == pytest.approx(6 / 23, abs=1e-6)
    # Of 12 words, the 5-grams at 1 and 2 are new or copies; a copy is passed over whole.
    many = measured(" ".join(["na"] * 12), variant="datatrove")
    assert many["duplicate_5_gram_character_fraction"] == pytest.approx(20 / 35, abs=1e-6)
    # The most frequent n-gram counts also if it occurs once, with its spaces.
    assert measured("one two", variant="datatrove")["top_2_gram_character_fraction"] == 1


def test_what_a_variant_does_not_have_is_null() -> None:
    every = set(HEURISTICS_SCHEMA.names) - {"failed"}
    text = "The mill stands by the river.\nThe mill stands by the river."
    assert {name for name in every if measured(text)[name] is None} == set()
    assert {name for name in every if measured(text, variant="datatrove")[name] is None} == set(REDPAJAMA_SIGNALS)
    assert {name for name in every if measured(text, variant="redpajama-v2")[name] is None} == {
        *(f"duplicate_{piece}_fraction" for piece in ("line", "paragraph", "line_character", "paragraph_character")),
        *("short_line_fraction", "repeated_line_character_fraction", "line_feed_to_word"),
    }


def test_words_of_scripts_without_spaces_are_cut() -> None:
    assert measured("今天天气很好，我们去公园散步吧。")["word_count"] == 8
    assert measured("สวัสดีครับผมชื่อสมชาย")["word_count"] == 5
    mixed = measured("Das 東京タワー steht in 東京。")
    assert mixed["word_count"] == 5 and mixed["stop_word_count"] == 0
    # Marks belong to the word before them, or to the first of a run.
    assert measured("「今天」")["word_count"] == 1
    assert measured("don't-stop 1,000.00 naïve")["word_count"] == 3


def test_a_copied_phrase_is_found_wherever_it_stands_in_such_a_run() -> None:
    phrase = "我们明天早上九点去公园散步"
    found = measured(f"他说{phrase}，她也说过{phrase}。")
    assert found["duplicate_5_gram_character_fraction"] > 0.3


def test_stop_words_are_those_of_the_language() -> None:
    words = {"en": ["the", "of"], "de": ["der", "und"]}
    text = "Der Hund und der Mann; the dog"
    assert measured(text, "de", stop_words=words)["stop_word_count"] == 2
    assert measured(text, "de", stop_words=words)["stop_word_fraction"] == pytest.approx(3 / 7, abs=1e-6)
    assert measured(text, "en", stop_words=words)["stop_word_count"] == 1
    for other in ("fr", None):
        found = measured(text, other, stop_words=words)
        assert (found["stop_word_count"], found["stop_word_fraction"]) == (None, None)
    # With one language, all documents are held against it, and no language is read.
    one = HeuristicsConfig.model_validate({"stop_words": {"de": ["der"]}})
    assert measure_heuristics.columns_of(one) == ["text"]
    assert measured(text, stop_words={"de": ["der"]})["stop_word_count"] == 1
    # Where there are no spaces, they are words of ICU.
    assert measured("今天的天气在变化。", "zh", stop_words={"zh": ["的", "在"], "en": ["the"]})["stop_word_count"] == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"stop_words": {}}, "at least 1 item"),
        ({"stop_words": {"en": ["The"]}}, "'The' is not one word in lower case"),
        ({"stop_words": {"en": ["of the"]}}, "'of the' is not one word"),
        ({"stop_words": {"en": ["of", "of"]}}, "stands there twice"),
        ({"variant": "c4"}, "'paper', 'datatrove' or 'redpajama-v2'"),
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HeuristicsConfig.model_validate(config)


def test_a_text_with_which_spacy_would_take_long_fails_and_no_other() -> None:
    found = measured("word " + "(" * 20_000, variant="datatrove")
    assert found["failed"] == "too_many_signs" and found["word_count"] is None
    assert measured("word " + "(" * 20_000)["failed"] is None
    assert measured("x" * 20_000 + " (ab) " * 4_000, variant="datatrove")["failed"] is None


def test_the_library_of_a_variant_is_needed_by_that_variant_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(library: str) -> str:
        if library == "spacy":
            raise importlib.metadata.PackageNotFoundError(library)
        return "1"

    monkeypatch.setattr(infra.stage, "_installed_version", version)
    assert measure_heuristics.library_versions(HeuristicsConfig()) == {"icu4py": "1"}
    with pytest.raises(MissingLibrary, match="the stage heuristics needs the package spacy: install it: pip install"):
        measure_heuristics.library_versions(HeuristicsConfig(variant="datatrove"))
