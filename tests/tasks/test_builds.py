"""A build of two sources that go through different steps, from files to tokens, as its record and report tell of it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from tasks.builds import BuildRecord, find_build
from tasks.pipeline import build_tasks
from tasks.recipe.resolve import resolve
from tasks.recipe.status import task_states
from tasks.report.data import ReportData, collect_report
from tasks.report.history import DocumentHistory, histories_of
from tasks.report.page import render_report
from tests.tasks.report.conftest import DirectRunner

WORDS = [f"word{number}" for number in range(400)]
LONG = {"column": "heuristics.word_count", "at_least": 20, "reason": "word_count"}
COPIED = 5  # so many texts stand in both sources, once more within the second


def text_of(seed: int, words: int = 60) -> str:
    """Words that are those of this seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def values(folder: Path, least: int = 20) -> dict[str, Any]:
    """The recipe: `web` has rules and struck lines, `books` finds its own duplicates, and both are compared."""
    read = {"jsonl": {"id_field": "id"}}
    return {
        "name": "pair",
        "sources": {
            "web": {
                "read": read,
                "inputs": [str(folder / "web-*.jsonl")],
                "steps": [{"lines": {"stage": "paragraphs", "files_per_group": 1}}, "heuristics"],
                "rules": [{**LONG, "at_least": least}],
                "share": 3,
            },
            "books": {
                "read": read,
                "inputs": [str(folder / "books.jsonl")],
                "steps": [{"own": {"stage": "near_duplicates", "survivors": ["first"]}}],
                "share": 1,
            },
        },
        "across": [{"near_duplicates": {"survivors": ["source", "longest"]}}],
        "tokenizer": {"vocabulary_size": 300},
    }


@dataclass(frozen=True)
class Pair:
    """The build, its lake and the folder of its inputs."""

    lake: Lake
    record: BuildRecord
    folder: Path

    def history(self, name: str) -> DocumentHistory:
        """The history of one document."""
        [history] = histories_of(self.lake, self.record, name, self.folder / "cache")
        return history


@pytest.fixture(scope="module")
def pair(pool: LocalPool, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two files of `web` and one of `books`, with planted copies, short texts and a repeated id."""
    folder = tmp_path_factory.mktemp("pair")
    web = [{"id": f"w{number}", "text": f"{text_of(number)}\nA line on every page"} for number in range(20)]
    web += [{"id": "short", "text": "too few words"}, {"id": "gone", "text": "A line on every page"}]
    books = [{"id": f"b{number}", "text": text_of(number)} for number in range(20 - COPIED, 40)]
    books += [{"id": f"again{number}", "text": text_of(number)} for number in range(38, 40)]
    books += [{"id": "w1", "text": text_of(99)}, {"id": "few", "text": "few words stay"}]
    for name, lines in (("web-0", web[:12]), ("web-1", web[12:]), ("books", books)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lake = Lake.open(str(folder / "lake"))
    resolved = resolve(parse_recipe(values(folder), "x"))
    return Pair(lake, make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), resolved), folder)


@pytest.fixture(scope="module")
def data(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """The report of the build."""
    return collect_report(pair.lake, pair.record, tmp_path_factory.mktemp("cache"))


def test_artifacts_go_by_source_and_step(pair: Pair) -> None:
    assert set(pair.record.artifacts) == {
        *(f"web/{step}" for step in ("documents", "lines", "heuristics", "near_duplicates_signatures")),
        *(f"books/{step}" for step in ("documents", "own_signatures", "own")),
        *(f"{source}/{name}" for source in ("web", "books") for name in ("rules", "corpus", "encode")),
        *("ids", "across/near_duplicates", "groups", "outcomes", "index", "tokenizer", "tokens"),
    }
    assert pair.record.artifacts["web/lines"][0] == "paragraphs"
    assert find_build(pair.lake, pair.record.key) == pair.record


def test_each_document_has_the_fate_of_its_source(pair: Pair) -> None:
    """Names of documents begin with the source, so what is planted is found by id."""
    fates = {name: pair.history(f"{source}/{name}").outcome for source, name in PLANTED}
    assert fates == {
        "w0": "",
        "w19": "",
        "short": "heuristics:dropped:word_count",
        "gone": "lines:dropped:all_text_struck",
        "b15": "near_duplicates:dropped:near_duplicate",
        "b39": "",
        "again39": "own:dropped:near_duplicate",
        "few": "",
    }


PLANTED = [("web", name) for name in ("w0", "w19", "short", "gone")]
PLANTED += [("books", name) for name in ("b15", "b39", "again39", "few")]


def test_a_history_has_the_steps_that_the_document_went_through(pair: Pair) -> None:
    web, book = pair.history("web/w15"), pair.history("books/b15")
    assert (web.source, list(web.steps)) == (
        "web",
        ["lines", "heuristics", "near_duplicates_signatures", "near_duplicates"],
    )
    assert (book.source, list(book.steps)) == ("books", ["own_signatures", "own", "near_duplicates"])
    assert "A line on every page" in web.document["text"] and "A line on every page" not in web.viewed_text
    assert web.steps["near_duplicates"]["cluster"] == book.steps["near_duplicates"]["cluster"] is not None
    assert book.steps["own"]["cluster"] is None
    assert book.shard == "books.jsonl#0" and web.shard == "web-1.jsonl#0"


def test_ledgers_of_the_sources_add_up_to_that_of_the_build(pair: Pair) -> None:
    record = pair.record
    web, books = record.source_ledgers["web"], record.source_ledgers["books"]
    assert [entry["stage"] for entry in web] == [
        *("source", "documents", "lines", "heuristics", "near_duplicates", "corpus")
    ]
    assert [entry["stage"] for entry in books] == ["source", "documents", "own", "near_duplicates", "corpus"]
    for ledger in (record.ledger, web, books):
        for entry, after in pairwise(ledger):
            out = sum(entry["dropped"].values()) + sum(entry["failed"].values())
            assert after["documents_in"] == entry["documents_kept"] == entry["documents_in"] - out
    last = [ledger[-1]["documents_kept"] for ledger in (web, books)]
    assert last == [20, 22] and sum(last) == record.documents == record.ledger[-1]["documents_kept"]
    whole = {entry["stage"]: entry for entry in record.ledger}
    assert whole["near_duplicates"]["dropped"] == {"near_duplicate": COPIED}
    assert whole["own"]["dropped"] == {"near_duplicate": 2}
    assert whole["lines"]["bytes_struck"] > 20 * len("A line on every page")


def test_the_report_tells_of_both_sources(pair: Pair, data: ReportData) -> None:
    assert list(data.source_funnels) == ["web", "books"]
    for name, funnel in data.source_funnels.items():
        ledger = pair.record.source_ledgers[name]
        assert [(step.stage, step.documents_kept) for step in funnel] == [
            (entry["stage"], entry["documents_kept"]) for entry in ledger
        ]
    assert {name: count.kept for name, count in data.distributions.sources.items()} == {"web": 20, "books": 22}
    assert {source.name: source.mixture for source in data.sources} == {"web": 0.75, "books": 0.25}
    [rule] = data.distributions.rules
    assert (rule.source, rule.reason, rule.histogram.total) == ("web", "word_count", 22)


def test_duplicates_are_told_by_scope(data: ReportData) -> None:
    found = {(near.step, near.scope): near for near in data.near_duplicates}
    assert set(found) == {("own", "books"), ("near_duplicates", "all sources")}
    own, whole = found["own", "books"], found["near_duplicates", "all sources"]
    assert (own.gone, own.sizes) == (2, ((2, 2),))
    assert whole.gone == COPIED and len(whole.pairs) <= 6
    for pair in own.pairs:
        assert {pair.left.id.partition("/")[0], pair.right.id.partition("/")[0]} == {"books"}
    across = [pair for pair in whole.pairs if pair.left.id.partition("/")[0] != pair.right.id.partition("/")[0]]
    assert across
    for found_pair in across:
        kept = {member.id.partition("/")[0]: member.kept for member in (found_pair.left, found_pair.right)}
        assert kept == {"web": True, "books": False}, "the first source of the recipe keeps its copy"
        # Text as it was compared: without the line that was struck.
        assert "A line on every page" not in found_pair.left.excerpt + found_pair.right.excerpt


def test_the_page_shows_each_funnel(pair: Pair, data: ReportData) -> None:
    page = html.document_fromstring(render_report(data))
    rows = [
        [cell.text_content() for cell in row.xpath("./th|./td")]
        for row in page.xpath("//table[@id='source-funnels']/tbody/tr")
    ]
    wanted = [
        [source if number == 0 else "", entry["stage"].replace("_", " "), f"{entry['documents_in']:,}"]
        for source in ("web", "books")
        for number, entry in enumerate(pair.record.source_ledgers[source])
    ]
    assert [row[:3] for row in rows] == wanted
    assert {"copies", "copies-2"} <= {table.get("id") for table in page.iter("table")}
    identities = [element.get("id") for element in page.xpath("//*[@id]")]
    assert len(identities) == len(set(identities))


def test_a_second_build_makes_what_is_behind_the_rules(pair: Pair) -> None:
    def to_build(least: int) -> set[str]:
        tasks = build_tasks(resolve(parse_recipe(values(pair.folder, least), "x")))
        return {state.name for state in task_states(tasks, pair.lake) if state.state == "to build"}

    assert to_build(20) == set()
    assert to_build(30) == {
        *("web: rules", "outcomes", "web: corpus", "books: corpus", "tokenizer"),
        *("web: encode", "books: encode", "tokens"),
    }
