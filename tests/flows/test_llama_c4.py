"""The source `c4` of the recipe `llama`: C4's own release stays as it is, and other pages get C4's rules."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from flows.recipe import load_recipe
from infra.documents import apply_edits
from tests.flows.judging import judge


def test_c4s_own_release_comes_out_as_it_goes_in(shared_data: Path) -> None:
    texts = []
    for path in sorted((shared_data / "jsonl-samples").glob("olmo-c4-sample.*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    found = judge("llama", "c4", texts)
    assert set(found["outcome"].to_pylist()) == {""}
    assert apply_edits(found["text"], found["c4.edits"])[0].to_pylist() == texts


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("The mill stands by the river. It is old. Nobody comes there now.", ""),
        ("The mill stands by the river. It is old.", "c4:dropped:too_few_sentences"),
        ("Then lorem ipsum fills this page. It is old. Nobody comes.", "c4:dropped:lorem_ipsum"),
        ("A body opens with { and closes. It is old. Nobody comes.", "c4:dropped:curly_bracket"),
        ("Home\nAbout us", "c4:dropped:all_text_struck"),
    ],
)
def test_other_pages_get_its_rules(text: str, outcome: str) -> None:
    assert judge("llama", "c4", [text])["outcome"].to_pylist() == [outcome]


def test_it_may_read_web_archives() -> None:
    recipe = load_recipe("llama", ["sources.c4.read=web_archive"], ["c4=pages.warc.gz"], skip_missing=True).recipe
    assert recipe.sources["c4"].read.stage == "web_archive"
