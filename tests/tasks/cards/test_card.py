"""Cards: their figures are those of the corpus, and what comes from pages stays text."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mlcroissant
import pyarrow.parquet as pq
import pytest

from infra.engine.shards import PartReader
from tasks.cards.card import _bounds, render_card
from tasks.cards.croissant import NO_LICENCE, to_croissant
from tasks.cards.facts import CorpusFacts, collect_facts
from tasks.cards.files import CannotWrite, write_card
from tasks.cards.markdown import escaped, table, to_html
from tasks.cards.pages import page_of
from tasks.text.urls import domain_of
from tests.tasks.cards.conftest import HOSTILE, Corpus


@pytest.fixture
def facts(corpus: Corpus, tmp_path: Path) -> CorpusFacts:
    return collect_facts(corpus.lake, corpus.build, "corpus/small", PartReader(corpus.lake, tmp_path))


def test_figures_are_those_of_the_corpus(corpus: Corpus, facts: CorpusFacts) -> None:
    rows = []
    for source in corpus.build.sources:
        for part in corpus.build.manifest(corpus.lake, f"{source}/corpus").parts:
            rows += pq.read_table(Path(corpus.lake.uri, part.path)).to_pylist()
    assert (facts.size.documents, facts.size.tokens) == (corpus.build.documents, corpus.build.tokens)
    assert facts.size.bytes == sum(len(row["text"].encode()) for row in rows)
    for what, key in (("licences", lambda row: row["licence"]), ("domains", lambda row: domain_of(row["url"]))):
        counted = Counter(key(row) for row in rows)
        assert {name: size.documents for name, size in facts.together(what).items()} == counted
    assert "site5.co.uk" in facts.together("domains")
    assert (
        sum(left.documents for left in facts.left) == corpus.build.ledger[0]["documents_kept"] - corpus.build.documents
    )
    web, books = facts.sources
    assert (web.share, books.share) == (0.25, 0.75)
    assert books.read == books.size.documents == 23


def test_what_was_left_out_has_examples_with_their_values(facts: CorpusFacts) -> None:
    opted, short = sorted(facts.left, key=lambda left: left.outcome, reverse=True)
    assert (short.source, short.outcome, short.documents) == ("web", "heuristics:dropped:too_short", 2)
    assert [example.values for example in short.examples] == [{"heuristics.word_count": 3}] * 2
    assert opted.outcome == "opt_outs:dropped:opted_out"
    assert all(domain_of(example.url) == "site4.co.uk" for example in opted.examples)
    card = render_card(facts)
    assert "too\\_short (heuristics)" in card
    assert "word\\_count 3" in card
    honoured = card.partition("## Opt-outs honoured")[2].partition("##")[0]
    assert f"| web | opt\\_outs.hit | at most 0.0 | opted\\_out | {opted.documents} |" in honoured


def test_addresses_stay_text(facts: CorpusFacts) -> None:
    markdown = render_card(facts)
    page = page_of("Corpus <b>", markdown)
    assert "\x1b" not in markdown
    assert "alert(1)" in page
    assert not re.search(r"<(script|a|img|b)[ >]", page)
    assert "&lt;script&gt;" in page
    rows = [line for line in markdown.splitlines() if "evil" in line]
    assert rows and all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_markdown_of_any_text_is_that_text() -> None:
    for text in (HOSTILE, "*a* _b_ # c ~~d~~ & &amp; $x$ <http://a.b> www.c.d e@f.g", "1\\|2", "![i](j)"):
        html = to_html(escaped(text))
        shown = re.sub(r"<[^>]+>", "", html).strip()
        for mark, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
            shown = shown.replace(mark, sign)
        assert shown == text.replace("\x1b", "\\x1b")
        assert "<a" not in html and "<img" not in html


def test_croissant_metadata_are_valid_and_lead_to_the_documents(corpus: Corpus, facts: CorpusFacts) -> None:
    path = Path(corpus.lake.uri, "croissant.json")
    path.write_text(json.dumps(to_croissant(facts)))
    try:
        dataset = mlcroissant.Dataset(path)
        issues = dataset.metadata.ctx.issues
        assert (issues.errors, issues.warnings) == (set(), set())
        texts = [record["books/text"].decode() for record in dataset.records("books")]
    finally:
        path.unlink()
    [part] = corpus.build.manifest(corpus.lake, "books/corpus").parts
    assert texts == pq.read_table(Path(corpus.lake.uri, part.path))["text"].to_pylist()


def test_files_name_no_place_of_the_machine(corpus: Corpus, tmp_path: Path) -> None:
    files = write_card(corpus.lake, corpus.build, "corpus/small", tmp_path / "card", tmp_path / "cache")
    assert [file.name for file in files] == ["card.md", "card.html", "croissant.json"]
    folder = Path(corpus.lake.uri).parent
    for file in files:
        assert ".jsonl" not in file.read_text()
        assert str(folder) not in file.read_text()
    assert "model: opt-outs.txt" in files[0].read_text()


def test_a_licence_of_some_documents_is_not_that_of_all(facts: CorpusFacts) -> None:
    assert to_croissant(facts)["license"] == ["CC0-1.0", NO_LICENCE]


def test_ids_of_croissant_differ_whatever_sources_are_called(facts: CorpusFacts) -> None:
    renamed = replace(
        facts, corpora=dict.fromkeys(("web", "web-files", "web-00000", "web-files-files"), facts.corpora["web"])
    )
    found = to_croissant(renamed)
    ids = [one["@id"] for one in (*found["distribution"], *found["recordSet"])]
    assert len(set(ids)) == len(ids) == 12


def test_a_recipe_does_not_leave_its_block(facts: CorpusFacts) -> None:
    hostile = "x\n```\n\n<script>alert(1)</script> ````\n[x](http://y)"
    recipe = {**facts.build.recipe, "lacks": {"step": hostile}}
    html = to_html(render_card(replace(facts, build=replace(facts.build, recipe=recipe))))
    assert html.count("<pre>") == 1 and html.rstrip().endswith("</code></pre>")
    assert "<a" not in html


def test_long_values_are_cut_with_a_sign() -> None:
    row = table(["a"], [["|" * 5000]]).splitlines()[2]
    assert len(row) < 3000 and row.endswith("\\|… (5,000 characters) |")


def test_a_folder_that_cannot_be_written_is_named(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match=r"file/card cannot be written .*: name another one with --folder"):
        write_card(corpus.lake, corpus.build, "corpus/small", tmp_path / "file" / "card", tmp_path / "cache")


def test_values_that_are_blank_are_seen(facts: CorpusFacts) -> None:
    assert "line\\_feed ' '" in render_card(facts) or "line\\_feed ''" in render_card(facts)


def test_the_conditions_of_a_rule_are_part_of_what_stays() -> None:
    english = {"column": "language.label", "one_of": ["en"]}
    rule = {"column": "heuristics.stop_word_count", "at_least": 2, "when": english, "unless": None}
    assert _bounds(rule) == "at least 2; when language.label is one of en"
