"""Contamination: every run of words of an item is found, by its item and its place, and nothing else is."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.documents import apply_edits
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from tasks.builds import BuildRecord
from tasks.contamination import ContaminationConfig, describe_matches, find_contamination
from tasks.contamination.evaluations import Item, read_items
from tasks.contamination.index import NAMED, EvaluationIndex
from tasks.report.history import histories_of
from tasks.text.words import hash_words, join_words
from tests.tasks.test_parts_of_sources import build

CONFIG = ContaminationConfig()
FILLER = "Millstones by the river turn day after day while the miller sleeps in his chair and grumbles. "


@pytest.fixture(scope="module")
def items(shared_data: Path) -> list[Item]:
    return list(read_items({path.name: path for path in (shared_data / "evaluation" / "sets").iterdir()}))


@pytest.fixture(scope="module")
def index(items: list[Item]) -> EvaluationIndex:
    return EvaluationIndex(items, CONFIG.n, CONFIG.shortest, CONFIG.shortest_item)


def words_of(text: str) -> list[str]:
    buffer, starts, ends = join_words(text)
    return [buffer[start:end].tobytes().decode() for start, end in zip(starts, ends)]


def texts_of(item: Item, config: ContaminationConfig) -> list[list[str]]:
    """The texts that an item is looked for by, from the docstring of the config."""
    strings = [words_of(string) for string in item.strings]
    if long := [words for words in strings if len(words) >= config.shortest]:
        return long
    whole = [word for words in strings for word in words]
    return [whole] if len(whole) >= config.shortest_item else []


def found_in(texts: list[str], index: EvaluationIndex, config: ContaminationConfig = CONFIG) -> list[dict[str, Any]]:
    return find_contamination(pa.table({"text": pa.array(texts, pa.string())}), config, index).to_pylist()


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.heavy)])
def test_matches_with_the_crawl_are_those_of_an_intersection_of_sets(
    items: list[Item], index: EvaluationIndex, shared_data: Path, every: int
) -> None:
    wanted: dict[int, set[str]] = {}
    for item in items:
        for words in texts_of(item, CONFIG):
            width = min(CONFIG.n, len(words))
            grams = wanted.setdefault(width, set())
            grams.update(" ".join(words[start : start + width]) for start in range(len(words) - width + 1))
    texts: list[str] = []
    for path in sorted((shared_data / "ccnet" / "wet").iterdir())[::every]:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            records = re.split(r"^WARC/1\.0\r?$", file.read(), flags=re.MULTILINE)
        texts += [record.partition("\r\n\r\n")[2] for record in records if "conversion" in record]
    assert len(texts) > 1700 / every / 2
    expected = []
    for text in texts:
        words = words_of(text)
        covered: set[int] = set()
        for width, grams in wanted.items():
            for start in range(len(words) - width + 1):
                if " ".join(words[start : start + width]) in grams:
                    covered.update(range(start, start + width))
        expected.append(round(len(covered) / len(words), 6) if words else 0.0)
    found = found_in(texts, index)
    assert [row["word_fraction"] for row in found] == expected
    assert [row["items"] > 0 for row in found] == [fraction > 0 for fraction in expected]
    # Texts that pages and items share are seldom, so the same is asked of pages that hold items.
    assert sum(fraction > 0 for fraction in expected) >= 1


def test_200_planted_items_are_found_whole_and_as_13_words(items: list[Item], index: EvaluationIndex) -> None:
    chance = random.Random(200)
    sought = [item for item in items if texts_of(item, CONFIG)]
    assert len(sought) > 0.98 * len(items)
    chosen = chance.sample(sought, 200)
    assert len({item.evaluation for item in chosen}) >= 15
    for item in chosen:
        planted = f"{FILLER}{' '.join(item.strings)}\n{FILLER}"
        [row] = found_in([planted], index)
        named = {(span["evaluation"], span["item"]) for span in row["spans"]}
        # Some items differ in brackets only, and an n-gram names the first 16 of its items.
        assert (item.evaluation, item.line) in named or row["items"] >= NAMED, item
        first, behind = len(FILLER.encode()), len(planted.encode()) - len(FILLER.encode())
        assert all(first <= span["start"] < span["end"] <= behind for span in row["spans"])
    long = [item for item in sought if any(len(words) >= 13 for words in texts_of(item, CONFIG))]
    for item in chance.sample(long, 200):
        words = chance.choice([words for words in texts_of(item, CONFIG) if len(words) >= 13])
        start = chance.randrange(len(words) - 12)
        run = ", ".join(words[start : start + 13]).upper()
        [row] = found_in([FILLER + run + ". " + FILLER], index)
        assert row["items"] >= 1, (item, run)
        assert row["spans"][0]["start"] == len(FILLER.encode())
        assert row["spans"][0]["end"] == len((FILLER + run).encode())
        [row] = found_in([FILLER + ", ".join(words[start : start + 12]) + ". " + FILLER], index)
        shorter = [span for span in row["spans"] if (span["evaluation"], span["item"]) == (item.evaluation, item.line)]
        assert not shorter or any(len(text) < 13 for text in texts_of(item, CONFIG))


def test_short_items_are_looked_for_by_the_stated_rule() -> None:
    items = [
        Item("a", 1, ("one two three four five six seven eight", "nine")),
        Item("b", 1, ("the capital is", "Rome or so")),
        Item("b", 2, ("2 + 2 =", "4")),
    ]
    index = EvaluationIndex(items, 13, 8, 5)
    texts = ["so ONE, two: three four five six seven eight", "one two three four five six seven", "nine nine nine nine"]
    assert [row["items"] for row in found_in(texts, index)] == [1, 0, 0]
    assert [row["evaluations"] for row in found_in(["the capital is Rome (or so)", "2 + 2 = 4"], index)] == ["b", None]


def test_overlapping_runs_are_one_span_and_runs_of_several_items_name_each() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    index = EvaluationIndex([Item("a", 1, (text,)), Item("b", 7, ("so " + text + " end",))], 13, 8, 5)
    [row] = found_in([f"Before: {text.replace('20', 'XX')}."], index)
    start, middle = len("Before: "), text.index("word20")
    assert row["items"] == 2
    assert row["evaluations"] == "a,b"
    assert row["spans"] == [
        {"evaluation": name, "item": line, "start": start + first, "end": start + end}
        for first, end in ((0, middle - 1), (middle + len("word20 "), len(text)))
        for name, line in (("a", 1), ("b", 7))
    ]
    assert row["word_fraction"] == pytest.approx(39 / 41, abs=1e-6)


def test_cuts_take_the_shared_words_and_nothing_else() -> None:
    item = "Wörter über İstanbul, die niemand sonst so schreibt wie hier die Straße."
    index = EvaluationIndex([Item("a", 1, (item,))], 13, 8, 5)
    config = ContaminationConfig(cut=True)
    texts = [f"Vorher 😀 {item.upper()} Nachher.", "nichts davon"]
    found = find_contamination(pa.table({"text": texts}), config, index)
    edited, struck = apply_edits(pa.chunked_array([texts]), found["edits"])
    assert edited.to_pylist() == ["Vorher 😀 . Nachher.", "nichts davon"]
    assert struck == len(item.upper().encode()) - 1
    assert found_in(texts, index)[0]["edits"] is None


def test_hostile_texts_are_named_up_to_a_limit_and_counted_whole() -> None:
    template = "Is the following statement true or false? Output T for true and F for false."
    items = [Item("t", number, (template, f"statement {number}")) for number in range(1, 4000)]
    index = EvaluationIndex(items, 13, 8, 5)
    [row] = found_in([f"{template} and\n" * 2000], index)
    assert row["items"] == len(items)
    assert len(row["spans"]) == 1000
    assert row["unnamed_spans"] == 2000 * NAMED - 1000
    # The state that a search uses is as before: the next text has its own matches only.
    assert found_in(["nothing", template], index)[0]["items"] == 0
    assert len(hash_words(template)) == 15


def test_an_n_gram_of_many_items_names_every_evaluation() -> None:
    text = " ".join(f"word{number}" for number in range(20))
    items = [Item(name, line, (text,)) for name in ("a", "b") for line in range(1, 41)]
    items += [Item("c", 1, (f"{text} and the rest of it is another question",)), Item("d", 1, (text.upper()[::-1],))]
    [row, other] = found_in([text, "another text"], EvaluationIndex(items, 13, 8, 5))
    assert (row["items"], row["evaluations"], len(row["spans"])) == (81, "a,b,c", NAMED)
    assert (other["items"], other["evaluations"]) == (0, None)


def test_a_rule_drops_what_is_contaminated_and_explain_names_the_item(pool: LocalPool, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    question = "Which of these mills was the first that ground corn by the power of the tide alone?"
    (folder / "mills.jsonl").write_text(json.dumps({"question": question, "answer": "Eling"}) + "\n")
    texts = [FILLER, f"{FILLER}{question} {FILLER}", FILLER.upper() + " Again."]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = {
        "read": "jsonl",
        "inputs": [str(tmp_path / "in.jsonl")],
        "steps": [{"contamination": {"model": str(folder)}}],
        "rules": [{"column": "contamination.items", "at_most": 0, "reason": "contaminated"}],
    }
    values = {"name": "clean", "sources": {"web": source}, "tokenizer": {"vocabulary_size": 300}}
    lake, record, _ = build(pool, tmp_path, values)
    accounts = record.manifest(lake, "web/corpus").account
    assert (accounts.kept, accounts.dropped) == (2, {"contamination:contaminated": 1})
    source = find_document(lake, record, "contaminated", tmp_path)
    assert source == [f"mills, line 1: bytes {len(FILLER)} to {len(FILLER + question) - 1}"]


def find_document(lake: Lake, record: BuildRecord, reason: str, cache: Path) -> list[str]:
    """What explains the documents that are dropped for this reason."""
    ids = [row["id"] for row in record_rows(lake, record)]
    lives = [history.to_json() for id in ids for history in histories_of(lake, record, id, cache)]
    columns = [life["stages"]["contamination"] for life in lives if life["fate"].endswith(reason)]
    return [line for one in columns for line in describe_matches(one)]


def record_rows(lake: Lake, record: BuildRecord) -> list[dict[str, Any]]:
    documents = record.manifest(lake, "web/documents")
    return [row for part in documents.parts for row in pq.read_table(Path(lake.uri, part.path)).to_pylist()]
