"""The variants `datatrove` and `redpajama-v2` against those packages' own functions, on real texts.

``judged.parquet`` has a row for each gold text and each page that `web_archive` read out of the crawl: the SHA-256 of
the text (16 digits), and no text. Columns ``datatrove.X`` are what the helpers of datatrove 0.10.1 (with spaCy 3.8.18)
give, in the expressions of its filters: ``split_into_words``, ``find_duplicates``, ``get_n_grams``,
``find_top_duplicate``, ``find_all_duplicate``. Columns ``verdict.X`` are what ``filter`` of its filters says. Columns
``redpajama.X`` are what the classes of togethercomputer/RedPajama-Data at 6d2cee9d return (with NLTK 3.8.1 and Gopher's
eight words as its stop words), the mean of those that return a list over lines, the sum of its JavaScript counts.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.heuristics import FINEWEB_RULES, GOPHER_RULES, HeuristicsConfig, measure_heuristics
from tests.bench.inputs import page_texts
from tests.tasks.heuristics.texts import digest, gold_texts

JUDGED = Path(__file__).with_name("judged.parquet")
# datatrove's filters in its order: signal, and its reasons for what is too little and too much.
QUALITY = (
    ("word_count", "gopher_short_doc", "gopher_long_doc"),
    ("mean_word_length", "gopher_below_avg_threshold", "gopher_above_avg_threshold"),
    ("hash_to_word", "", "gopher_too_many_hashes"),
    ("ellipsis_to_word", "", "gopher_too_many_ellipsis"),
    ("bullet_line_fraction", "", "gopher_too_many_bullets"),
    ("ellipsis_line_fraction", "", "gopher_too_many_end_ellipsis"),
    ("alphabetic_word_fraction", "gopher_below_alpha_threshold", ""),
    ("stop_word_count", "gopher_enough_stop_words", ""),
)
REPETITION = (
    ("duplicate_paragraph_fraction", "", "dup_para_frac"),
    ("duplicate_paragraph_character_fraction", "", "dup_para_char_frac"),
    ("duplicate_line_fraction", "", "dup_line_frac"),
    ("duplicate_line_character_fraction", "", "dup_line_char_frac"),
    *((f"top_{n}_gram_character_fraction", "", f"top_{n}_gram") for n in (2, 3, 4)),
    *((f"duplicate_{n}_gram_character_fraction", "", f"duplicated_{n}_n_grams") for n in range(5, 11)),
)
FINEWEB = (
    ("terminal_line_fraction", "line_punct_ratio", ""),
    ("short_line_fraction", "", "short_line_ratio"),
    ("repeated_line_character_fraction", "", "char_dup_ratio"),
    ("line_feed_to_word", "", "list_ratio"),
)
FILTERS = {"gopher_quality": QUALITY, "gopher_repetition": REPETITION, "fineweb": FINEWEB}


def judged() -> dict[str, dict[str, Any]]:
    """What the judges said, by the digest of the text."""
    return {row["text"]: row for row in pq.read_table(JUDGED).to_pylist()}


def signals(texts: list[str], variant: str) -> list[dict[str, Any]]:
    """What the stage stores about texts."""
    config = HeuristicsConfig.model_validate({"variant": variant, "decimals": 9})
    return measure_heuristics(pa.table({"text": texts}), config).to_pylist()


def verdict(found: Mapping[str, Any], rules: Iterable[tuple[str, str, str]]) -> str:
    """The reason of the first rule that fails; "" if none does."""
    for column, below, above in rules:
        least, most = (GOPHER_RULES | FINEWEB_RULES)[column]
        if least is not None and found[column] < least:
            return below
        if most is not None and found[column] > most:
            return above
    return ""


def check_datatrove(texts: list[str]) -> collections.Counter[str]:
    """Compare every signal and verdict; how often each verdict was."""
    known, reasons = judged(), collections.Counter[str]()
    for text, found in zip(texts, signals(texts, "datatrove"), strict=True):
        row = known[digest(text)]
        for column in (*GOPHER_RULES, *FINEWEB_RULES):
            assert found[column] == pytest.approx(row[f"datatrove.{column}"], rel=1e-6, abs=1e-6), column
        for name, rules in FILTERS.items():
            assert verdict(found, rules) == row[f"verdict.{name}"]
            reasons[row[f"verdict.{name}"]] += 1
    return reasons


def check_redpajama(texts: list[str]) -> None:
    """Compare every signal."""
    known = judged()
    for text, found in zip(texts, signals(texts, "redpajama-v2"), strict=True):
        named = {
            **found,
            "symbol_to_word": found["hash_to_word"] + found["ellipsis_to_word"],
            "no_alphabetic_word_fraction": 1 - found["alphabetic_word_fraction"],
        }
        row = known[digest(text)]
        for column in (name.partition(".")[2] for name in row if name.startswith("redpajama.")):
            assert named[column] == pytest.approx(row[f"redpajama.{column}"], rel=1e-6, abs=1e-6), column


def test_datatroves_signals_and_verdicts_on_gold_texts(shared_data: Path) -> None:
    reasons = check_datatrove(gold_texts(shared_data)[::5])
    assert {"gopher_short_doc", "gopher_below_alpha_threshold", "dup_line_frac", "line_punct_ratio"} <= reasons.keys()


def test_redpajamas_signals_on_gold_texts(shared_data: Path) -> None:
    check_redpajama(gold_texts(shared_data))


@pytest.mark.heavy
def test_both_on_all_gold_texts_and_pages(shared_data: Path) -> None:
    """Pages that are extracted in another way have other texts: run the judges on these, and write the file anew."""
    texts = [*gold_texts(shared_data), *page_texts(whole=True).value]
    missing = {digest(text) for text in texts} - judged().keys()
    assert not missing, f"the judges have not read {len(missing)} texts"
    check_redpajama(texts)
    assert len(check_datatrove(texts)) >= 20
