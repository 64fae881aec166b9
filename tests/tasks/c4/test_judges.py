"""The stage `c4` against the code that made C4, and against datatrove's filter, on real pages.

``judged.parquet`` has a row for each gold text, each record of the WET files that were made of the crawl, and each page
that `web_archive` read out of it: the SHA-256 of the text (16 digits), and no text. ``reason``, ``kept`` and
``sentences`` are what ``clean_page`` of ``tensorflow_datasets/text/c4_utils.py`` at 0560e686 says (without bad words),
with NLTK 3.8.1 and its ``english.pickle``: the page's verdict, the SHA-256 of its text, and the sentences in it.
``datatrove_reason`` and ``datatrove_kept`` are those of datatrove 0.10.1's ``C4QualityFilter``, with spaCy 3.8.18.
"""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.documents import apply_edits
from tasks.c4 import C4Config, apply_c4
from tests.bench.inputs import page_texts
from tests.tasks.heuristics.texts import digest, gold_texts, wet_texts


def check(texts: list[str], variant: str, reason: str, kept: str) -> collections.Counter[str]:
    """Compare the verdict of each page, and the text of those that pass; how often each verdict was."""
    judged: dict[str, dict[str, Any]] = {
        row["text"]: row for row in pq.read_table(Path(__file__).with_name("judged.parquet")).to_pylist()
    }
    batch = pa.table({"text": texts})
    found = apply_c4(batch, C4Config.model_validate({"variant": variant}))
    cleaned, _ = apply_edits(batch["text"], found["edits"])
    reasons = collections.Counter[str]()
    for text, row, clean in zip(texts, found.to_pylist(), cleaned.to_pylist(), strict=True):
        known = judged[digest(text)]
        assert (row["reason"] or "") == known[reason]
        reasons[known[reason]] += 1
        if not known[reason]:
            assert digest(clean) == known[kept]
            assert variant != "tfds" or row["sentences"] == known["sentences"]
    return reasons


def test_pages_are_as_tensorflow_datasets_cleans_them(shared_data: Path) -> None:
    reasons = check(wet_texts(shared_data), "tfds", "reason", "kept")
    assert sum(reasons.values()) == 1786
    assert set(reasons) == {"", "lorem_ipsum", "curly_bracket", "too_few_sentences"}


def test_pages_are_as_datatrove_cleans_them(shared_data: Path) -> None:
    reasons = check(gold_texts(shared_data)[::15], "datatrove", "datatrove_reason", "datatrove_kept")
    assert {"", "too_few_sentences"} <= set(reasons)


@pytest.mark.heavy
def test_all_texts_are_as_both_clean_them(shared_data: Path) -> None:
    """Pages that are extracted in another way have other texts: run the judges on these, and write the file anew."""
    texts = [*gold_texts(shared_data), *wet_texts(shared_data), *page_texts(whole=True).value]
    check(texts, "tfds", "reason", "kept")
    check(texts, "datatrove", "datatrove_reason", "datatrove_kept")
