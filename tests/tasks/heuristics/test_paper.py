import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies

from tasks.heuristics import (
    GOPHER_RULES,
    HEURISTICS_SCHEMA,
    STOP_WORDS,
    HeuristicsConfig,
    measure_heuristics,
    signals_of,
)

CONFIG = HeuristicsConfig()
TEXTS = strategies.lists(
    strategies.sampled_from(["a", "the", "b", "Wort", "#tag", "...", "…", "7", "日本", "\n", "\n\n", "• ", " \n \n"]),
    max_size=60,
).map(" ".join)


def signals(text: str) -> dict[str, float]:
    """Every signal of a text; with stop words of one language, none is null."""
    return {name: value for name, value in signals_of(text, CONFIG).items() if value is not None}


def test_rules_are_those_of_table_a1() -> None:
    assert GOPHER_RULES["word_count"] == (50, 100_000)
    assert GOPHER_RULES["mean_word_length"] == (3, 10)
    assert [GOPHER_RULES[f"top_{n}_gram_character_fraction"][1] for n in (2, 3, 4)] == [0.20, 0.18, 0.16]
    assert [GOPHER_RULES[f"duplicate_{n}_gram_character_fraction"][1] for n in range(5, 11)] == [
        0.15, 0.14, 0.13, 0.12, 0.11, 0.10,
    ]  # fmt: skip
    assert [
        GOPHER_RULES[f"duplicate_{kind}_fraction"][1]
        for kind in ("line", "paragraph", "line_character", "paragraph_character")
    ] == [0.30, 0.30, 0.20, 0.20]
    assert set(STOP_WORDS) == {"the", "be", "to", "of", "and", "that", "have", "with"}


def test_words_by_hand() -> None:
    found = signals("The café, it is #1 … 42 ... to-be!\nThat's ΑΒΓ")
    # The café, it is #1 … 42 ... to-be! That's ΑΒΓ: 3+5+2+2+2+1+2+3+6+6+3 characters, 11 words
    assert found["word_count"] == 11
    assert found["mean_word_length"] == pytest.approx(35 / 11)
    assert found["hash_to_word"] == pytest.approx(1 / 11)
    assert found["ellipsis_to_word"] == pytest.approx(2 / 11)
    assert found["alphabetic_word_fraction"] == pytest.approx(7 / 11)  # not #1, …, 42, ...
    assert found["stop_word_count"] == 4  # the, to, be, that


def test_stop_words_stand_between_word_boundaries() -> None:
    assert signals("other bend tower often sand thatch haven without")["stop_word_count"] == 0
    assert signals("THE “be” (to) of, and; that have\nwith the")["stop_word_count"] == 8


def test_lines_by_hand() -> None:
    found = signals("• one\n- two…\n\n  * three ...  \nfour")
    assert found["bullet_line_fraction"] == 3 / 4
    assert found["ellipsis_line_fraction"] == 2 / 4


def test_duplicate_lines_and_paragraphs_by_hand() -> None:
    found = signals("ab\ncd\n\nab\ncd \n \n\nab\n\nxyz")
    # lines ab cd ab cd ab xyz: later copies are ab cd ab; paragraphs "ab\ncd" twice, "ab", "xyz"
    assert found["duplicate_line_fraction"] == 3 / 6
    assert found["duplicate_line_character_fraction"] == 6 / 13
    assert found["duplicate_paragraph_fraction"] == 1 / 4
    assert found["duplicate_paragraph_character_fraction"] == 5 / 15


def test_n_grams_by_hand() -> None:
    found = signals("aa b aa b c dddd aa b")
    # "aa b" three times: 9 of 14 characters; no 3-gram twice
    assert found["top_2_gram_character_fraction"] == 9 / 14
    assert found["top_3_gram_character_fraction"] == 0
    repeated = signals("one two three four five six one two three four five")
    # the second "one two three four five" is the duplicate: 19 of 41 characters
    assert repeated["duplicate_5_gram_character_fraction"] == 19 / 41
    assert repeated["duplicate_6_gram_character_fraction"] == 0


def test_overlapping_n_grams_count_a_word_once() -> None:
    found = signals(" ".join(["na"] * 100))
    assert found["top_2_gram_character_fraction"] == 1
    assert found["duplicate_5_gram_character_fraction"] == 99 / 100
    assert found["duplicate_10_gram_character_fraction"] == 99 / 100


def test_nothing_has_no_fraction() -> None:
    for text in ("", " \n\t\n"):
        assert set(signals(text).values()) == {0}


def test_columns_and_rounding() -> None:
    batch = pa.table({"text": ["one two two", "", "日本語 #"]})
    annotations = measure_heuristics(batch, HeuristicsConfig(decimals=3))
    assert annotations.schema == HEURISTICS_SCHEMA
    assert annotations.schema.names == [*signals("x"), "failed"]
    assert annotations["mean_word_length"].to_pylist() == [3.0, 0.0, 2.0]
    rounded = measure_heuristics(pa.table({"text": ["a bb cc"]}), HeuristicsConfig())
    assert rounded["mean_word_length"].to_pylist() == [1.666667]


def test_english_prose_passes_and_a_list_of_tags_does_not() -> None:
    prose = (
        "The house that we have lived in since the war stands at the end of a quiet road, and nobody who comes to it "
        "forgets the garden. My father planted every tree himself. He would rise with the sun, dig until noon, and be "
        "found asleep under one of them when we came back from school in the afternoon."
    )
    tags = "\n".join(f"• #{n % 7} #{n % 5} ..." for n in range(60))

    def broken(text: str) -> set[str]:
        return {
            name
            for name, (least, most) in GOPHER_RULES.items()
            for value in [signals(text)[name]]
            if (least is not None and value < least) or (most is not None and value > most)
        }

    assert broken(prose) == set()
    assert broken(tags) >= {
        "mean_word_length", "hash_to_word", "ellipsis_to_word", "bullet_line_fraction", "ellipsis_line_fraction",
        "alphabetic_word_fraction", "stop_word_count", "duplicate_line_fraction", "duplicate_5_gram_character_fraction",
    }  # fmt: skip


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(TEXTS)
def test_fractions_stay_between_nothing_and_all(text: str) -> None:
    for name, value in signals(text).items():
        if name.endswith("fraction"):
            assert 0 <= value <= 1, name


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(TEXTS, strategies.data())
def test_a_repeated_line_never_lowers_the_duplicates(text: str, data: strategies.DataObject) -> None:
    lines = [line for line in text.split("\n") if line.strip()]
    hypothesis.assume(lines)
    longer = text + "\n" + data.draw(strategies.sampled_from(lines))
    before, after = signals(text), signals(longer)
    assert after["duplicate_line_fraction"] > before["duplicate_line_fraction"]
    assert after["duplicate_line_character_fraction"] >= before["duplicate_line_character_fraction"]


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(TEXTS)
def test_a_text_said_twice_repeats_at_least_its_second_half(text: str) -> None:
    text = "ten words that open the text and are no more " + text
    found = signals(text + "\n" + text)
    for n in range(5, 11):
        assert found[f"duplicate_{n}_gram_character_fraction"] >= 0.5
