"""A recipe with `compat: ccnet` against cc_net's own verdicts, and groups of input files through a recipe."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from lxml import html

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.store.manifest import Manifest, fetch_part
from infra.tables import read_table
from tasks.pipeline import corpus_tasks
from tasks.recipe.resolve import resolve
from tasks.report.data import collect_report
from tasks.report.history import histories_of
from tasks.report.page import render_report
from tasks.sources.archives import ArchiveRecord, read_records
from tasks.sources.web_archive import document_id
from tests.infra.engine.builds import run_tasks
from tests.tasks.report.conftest import DirectRunner
from tests.tasks.sources.samples import COMPRESSIONS, warc_record
from tests.tasks.text.hashing import line_for_hashing

LEAST_SCORE = {"column": "language.score", "at_least": 0.5}
Verdicts = dict[tuple[str, int], dict[str, Any]]  # by file and number of the record


@dataclass(frozen=True)
class CcNet:
    """cc_net's verdicts, its inputs, and the language models that both sides use."""

    files: list[Path]
    golden: list[dict[str, Any]]
    models: Path

    def verdicts(self, group: int, files: Sequence[Path]) -> Verdicts:
        """What cc_net keeps of these files, with groups of so many files."""
        names = {file.name for file in files}
        verdicts = {(one["file"], one["record"]): one.get(f"hash_in_mem_{group}") for one in self.golden}
        return {place: kept for place, kept in verdicts.items() if kept is not None and place[0] in names}

    def short(self, files: Sequence[Path]) -> int:
        """The number of records below cc_net's 300 characters."""
        names = {file.name for file in files}
        return sum(one["characters"] < 300 for one in self.golden if one["file"] in names)


@pytest.fixture(scope="module")
def cc_net(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> CcNet:
    """The models lie with `cutoff.csv` in one folder, as cc_net publishes them."""
    folder = shared_data / "ccnet"
    models = tmp_path_factory.mktemp("lm_sp")
    for path in [*folder.glob("lm/*.arpa.bin"), *folder.glob("lm/*.sp.model")]:
        (models / path.name).symlink_to(path)
    (models / "cutoff.csv").symlink_to(folder / "lm_cutoff.csv")
    with gzip.open(folder / "golden_ccnet.jsonl.gz", "rt") as lines:
        golden = [json.loads(line) for line in lines]
    return CcNet(sorted(folder.glob("wet/*.gz")), golden, models)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """One lake for all groups: the archives are read once."""
    return Lake.open(str(tmp_path_factory.mktemp("ccnet") / "lake"))


@dataclass(frozen=True)
class Line:
    """Builds corpora of one source as cc_net does."""

    lake: Lake
    pool: LocalPool
    cache: Path

    def corpus(self, files: Sequence[Path], group: int, models: Path, compat: str = "ccnet") -> dict[str, Manifest]:
        """The artifacts of a recipe, up to the corpus."""
        recipe = {
            "name": "web",
            "sources": {
                "crawl": {
                    "read": {"wet": {"compat": compat}},
                    "inputs": [str(file) for file in files],
                    "steps": [
                        {"paragraphs": {"files_per_group": group}},
                        {"language": {"compat": compat}},
                        {"perplexity": {"model": str(models), "compat": compat}},
                    ],
                    "floors": [LEAST_SCORE],
                    "rules": [{**LEAST_SCORE, "reason": "low_language_score"}],
                }
            },
        }
        return run_tasks(corpus_tasks(resolve(parse_recipe(recipe, "web"))), self.lake, self.pool)

    def rows(self, manifest: Manifest) -> Iterator[dict[str, Any]]:
        """The rows of all parts."""
        for part in manifest.parts:
            yield from read_table(fetch_part(self.lake, part, self.cache)).to_pylist()

    def verdicts(self, made: dict[str, Manifest], files: Sequence[Path]) -> Verdicts:
        """What the recipe keeps, told as cc_net's verdicts are."""
        places = {identity: place for file in files for identity, place in records_of(file).items()}
        texts = {row["id"]: row["text"] for row in self.rows(made["crawl/corpus"])}
        steps = ("documents", "paragraphs", "language", "perplexity")
        found = {}
        for document, struck, language, scored in zip(
            *(self.rows(made[f"crawl/{step}"]) for step in steps), strict=True
        ):
            if document["id"] in texts:
                text = texts[document["id"]]
                kept = kept_lines(document["text"], text)
                assert len(kept) == struck["lines"] - struck["struck"]
                found[places[document["id"]]] = {
                    "line_ids": kept,
                    "length": len(text),
                    "language": language["label"],
                    "score": language["score"],
                    "perplexity": scored["perplexity"],
                    "bucket": scored["bucket"],
                    "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
                }
        assert len(found) == len(texts)
        return found


@pytest.fixture(scope="module")
def line(lake: Lake, pool: LocalPool, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(lake, pool, tmp_path_factory.mktemp("cache"))


@cache
def records_of(file: Path) -> dict[str, tuple[str, int]]:
    """The ids of the documents of an archive, and the places of their records among the conversion records."""
    with file.open("rb") as stream:
        records = [found for found in read_records(stream, file.name) if isinstance(found, ArchiveRecord)]
    texts = [record for record in records if record.type == "conversion"]
    return {document_id(record, "crawl"): (file.name, number) for number, record in enumerate(texts)}


def kept_lines(stored: str, text: str) -> list[int]:
    """The numbers of the lines that stay. Of equal lines in a document, only the first can stay."""
    lines = stored.split("\n")
    first = {line: number for number, line in reversed(list(enumerate(lines)))}
    return [first[line] for line in text.split("\n")]


@pytest.mark.parametrize("group", [1, 4, 16])
def test_every_verdict_is_that_of_cc_net(line: Line, cc_net: CcNet, group: int) -> None:
    made = line.corpus(cc_net.files, group, cc_net.models)
    assert line.verdicts(made, cc_net.files) == cc_net.verdicts(group, cc_net.files)
    account = made["crawl/documents"].account
    assert account.dropped == {"short_text": cc_net.short(cc_net.files), "warcinfo": len(cc_net.files)}
    assert not account.failed and account.rows_in == len(cc_net.golden) + len(cc_net.files)


def test_with_the_title_left_in_the_verdicts_are_others(line: Line, cc_net: CcNet, tmp_path: Path) -> None:
    """The comparison notices it: the records of one archive with their first line twice, of which one is the title."""
    [original] = cc_net.files[:1]
    data = gzip.decompress(original.read_bytes())
    twice = tmp_path / original.name
    twice.write_bytes(COMPRESSIONS["gzip"](with_first_lines_twice(data)))
    expected = cc_net.verdicts(1, [original])
    assert line.verdicts(line.corpus([original], 1, cc_net.models), [original]) == expected
    found = line.verdicts(line.corpus([twice], 1, cc_net.models), [twice])
    for column in ("text_sha256", "perplexity"):
        there = [place for place in expected if expected[place][column] is not None]
        equal = sum(found.get(place, {}).get(column) == expected[place][column] for place in there)
        assert equal < 0.2 * len(there), column  # where the first line of the text is the title already


def with_first_lines_twice(data: bytes) -> bytes:
    found = []
    for record in data.split(b"\r\n\r\nWARC/1.0\r\n"):
        header, _, block = record.partition(b"\r\n\r\n")
        if b"WARC-Type: conversion" in header:
            first = block[: block.index(b"\n") + 1]
            fields, _, length = header.rpartition(b"Content-Length: ")
            record = fields + b"Content-Length: %d\r\n\r\n" % (int(length) + len(first)) + first + block
        found.append(record)
    return b"\r\n\r\nWARC/1.0\r\n".join(found)


def wet_file(path: Path, texts: Sequence[str], first: int = 0) -> Path:
    """An archive with a conversion record for each text; the first line of each is a title."""
    records = [warc_record(text.encode(), "conversion", first + number) for number, text in enumerate(texts)]
    path.write_bytes(b"".join(records))
    return path


def word(number: int) -> str:
    """A word of its own for each number: digits are all alike when lines are compared."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def build_of(sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "small", "sources": sources, "tokenizer": {"vocabulary_size": 300}, **more}


def test_one_file_of_several_shards_is_one_shard_of_cc_net(pool: LocalPool, tmp_path: Path) -> None:
    """25,000 documents are three shards: what the first and the last share goes, and the next file changes nothing."""
    texts = [
        f"Title\n{word(number)} has this line \n {word(number % 13_000)} is shared: {'é' * 290}\nTwice\n"
        for number in range(25_000)
    ]
    first = wet_file(tmp_path / "0.warc.wet", texts)
    second = wet_file(tmp_path / "1.warc.wet", texts[:10], first=len(texts))
    source = {
        "read": {"wet": {"compat": "ccnet"}},
        "inputs": [str(first), str(second)],
        "steps": [{"paragraphs": {"files_per_group": 1}}],
    }
    lake = Lake.open(str(tmp_path / "lake"))
    made = run_tasks(corpus_tasks(resolve(parse_recipe(build_of({"crawl": source}), "x"))), lake, pool)
    assert [part.rows for part in made["crawl/documents"].parts] == [10_000, 10_000, 5_000, 10]
    lines = Line(lake, pool, tmp_path / "cache")
    texts_left = [row["text"] for row in lines.rows(made["crawl/corpus"])]
    assert texts_left == kept_by_cc_net(texts) + kept_by_cc_net(texts[:10])


def kept_by_cc_net(texts: Sequence[str]) -> list[str]:
    """The texts of one shard without the lines that several of them share."""
    bodies = [[line.strip() for line in text.rstrip("\n").split("\n")[1:]] for text in texts]
    hashed = {line: line_for_hashing(line) for body in bodies for line in body}
    holders = Counter(key for body in bodies for key in {hashed[line] for line in body})
    return ["\n".join(line for line in body if holders[hashed[line]] == 1) for body in bodies]


@pytest.mark.parametrize("across", [False, True])
def test_a_document_keeps_lines_that_stand_in_another_source(pool: LocalPool, tmp_path: Path, across: bool) -> None:
    article = [f"Sentence {word(number)} of an article that the crawl has copied, line by line." for number in range(8)]
    copies = ["\n".join(["A title", *article, f"own line {word(number)}"]) for number in range(2)]
    wet_file(tmp_path / "crawl.warc.wet", copies)
    (tmp_path / "wiki.jsonl").write_text(json.dumps({"id": "article", "text": "\n".join(article)}) + "\n")
    steps: dict[str, Any] = {"steps": [] if across else ["paragraphs"]}
    sources = {
        "crawl": {"read": {"wet": {"compat": "ccnet"}}, "inputs": [str(tmp_path / "crawl.warc.wet")], **steps},
        "wiki": {"read": {"jsonl": {"id_field": "id"}}, "inputs": [str(tmp_path / "wiki.jsonl")], **steps},
    }
    recipe = build_of(sources, **({"across": ["paragraphs"]} if across else {}))
    lake = Lake.open(str(tmp_path / "lake"))
    made = run_tasks(corpus_tasks(resolve(parse_recipe(recipe, "x"))), lake, pool)
    lines = Line(lake, pool, tmp_path / "cache")
    assert [row["text"] for row in lines.rows(made["wiki/corpus"])] == ["\n".join(article)]
    assert [row["text"] for row in lines.rows(made["crawl/corpus"])] == ["own line a", "own line b"]


def test_books_balance_and_a_document_tells_its_life(pool: LocalPool, tmp_path: Path) -> None:
    """Texts have the control characters that cc_net leaves in them."""
    words = " ".join(topics["objects"].split()[:120])
    odd = "A title\0\x1b[2J\n" + f"{words}\0 <b>\x1b[31m\ufffe\uffff \x85 \r\n\vlast line"
    texts = [odd, "Only a title", "A title\n" + "x" * 298, f"{odd}\nWARC/1.0\nbehind it", "T\n" + words.upper()]
    source = {
        "read": {"wet": {"compat": "ccnet"}},
        "inputs": [str(wet_file(tmp_path / "odd.warc.wet", texts))],
        "steps": [{"paragraphs": {"keep": "first"}}, {"language": {"compat": "ccnet"}}],
        "rules": [{**LEAST_SCORE, "at_least": 0.1, "reason": "low_language_score"}],
    }
    lake = Lake.open(str(tmp_path / "lake"))
    runner = DirectRunner(lake, pool, lambda label, done, total: None)
    record = make_corpus(runner, resolve(parse_recipe(build_of({"crawl": source}), "x")))
    documents = record.manifest(lake, "crawl/documents").account
    assert documents.dropped == {"empty_text": 1, "short_text": 1} and documents.kept == 3
    for entry, after in pairwise(record.ledger):
        out = sum(entry["dropped"].values()) + sum(entry["failed"].values())
        assert after["documents_in"] == entry["documents_kept"] == entry["documents_in"] - out
    name = "crawl/00000000-0000-4000-8000-{:012}"
    [kept] = histories_of(lake, record, name.format(0), tmp_path / "cache")
    assert kept.document["text"] == f"{words}\0 <b>\x1b[31m\ufffe\uffff\nlast line\n"
    assert json.loads(kept.document["metadata"])["title"] == "A title\0\x1b[2J"
    assert kept.outcome == ""
    [cut] = histories_of(lake, record, name.format(3), tmp_path / "cache")
    assert json.loads(cut.document["metadata"])["lines_cut"] == 3
    page = render_report(collect_report(lake, record, tmp_path / "cache"))
    html.document_fromstring(page)
    assert "\0" not in page and "\x1b" not in page
