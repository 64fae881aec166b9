"""The demo's recipe on the demo's crawl: every planted record must have exactly the fate that is written beside it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from infra.store.lake import Lake
from model.observers.losses import read_losses
from tasks.builds import BuildRecord, find_build
from tasks.demo.crawl import LIBRARY_FILE, PACKAGES_FILE, make_crawl
from tasks.demo.planted import ARC_FILE, DAMAGED_FILE, KEPT, MIRROR_FILE, NEAR_DUPLICATE, Planted, planted_records
from tasks.report.history import DocumentHistory, histories_of
from tests.flows.conftest import Millrace
from tests.tasks.text.test_words import words_of

RECORDS = {record.name: record for record in planted_records()}
DOCUMENTS = [record for record in RECORDS.values() if record.is_document]
KINDS = ("dropped", "failed")
UNREAD = [record for record in RECORDS.values() if not record.is_document]


@dataclass(frozen=True)
class Built:
    """The build of the demo, and where it lies."""

    result: dict[str, Any]
    archives: list[Path]
    lake: Lake
    record: BuildRecord
    cache: Path

    def histories(self, name: str) -> list[DocumentHistory]:
        """What `millrace explain` would tell of a planted record, or of an id."""
        planted = RECORDS.get(name)
        return histories_of(self.lake, self.record, planted.url if planted else name, self.cache)

    def history(self, name: str) -> DocumentHistory:
        """The only history of a planted record."""
        [history] = self.histories(name)
        return history


@pytest.fixture(scope="module")
def built(millrace: Millrace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("demo")
    archives = make_crawl(folder / "crawl")
    result = millrace.json("build", "demo", "--input", str(folder / "crawl"), "--lake", str(folder / "lake"))
    lake = Lake.open(str(folder / "lake"))
    yield Built(result, archives, lake, find_build(lake, "corpus/demo"), folder / "cache")


@pytest.mark.parametrize("record", DOCUMENTS, ids=lambda record: record.name)
def test_every_planted_document_has_its_fate(built: Built, record: Planted) -> None:
    [history] = built.histories(record.name)
    assert (history.outcome or KEPT) == record.fate, f"{record.why}; {history.steps}"
    assert history.shard == f"{record.file}#0"
    if record.file != ARC_FILE:
        assert history.document["id"] == record.document_id
        twins = {other.name for other in DOCUMENTS if other.document_id == record.document_id}
        assert len(built.histories(record.document_id)) == len(twins)


@pytest.mark.parametrize("record", UNREAD, ids=lambda record: record.name)
def test_no_other_record_became_a_document(built: Built, record: Planted) -> None:
    assert built.histories(record.name) == []


def test_what_the_source_dropped_is_what_was_planted_and_nothing_else(built: Built) -> None:
    planted = Counter(record.fate.split(":")[2] for record in UNREAD if ":dropped:" in record.fate)
    account = built.record.manifest(built.lake, "crawl/documents").account
    for path in built.archives:
        with path.open("rb") as stream:
            # FastWARC stops at damage, and it knows no ARC.
            if path.name in (LIBRARY_FILE, PACKAGES_FILE):
                planted["request"] += sum(1 for _ in ArchiveIterator(stream, record_types=WarcRecordType.request))
    assert planted["request"] > 100
    assert account.dropped == planted + Counter(warcinfo=5, arc_header=1)
    assert account.kept == account.rows_in - sum(account.dropped.values()) - sum(account.failed.values())


def test_every_fault_is_one_entry_with_its_offset_and_its_reason(built: Built) -> None:
    account = built.record.manifest(built.lake, "crawl/documents").account
    planted = [record for record in UNREAD if ":failed:" in record.fate]
    expected = [(record.file, record.fate.split(":")[2]) for record in planted]
    assert [(entry["file"], entry["reason"]) for entry in account.failures] == expected
    assert account.failed == Counter(reason for _, reason in expected)
    offsets = {path.name: _member_offsets(path) for path in built.archives if path.name in (MIRROR_FILE, DAMAGED_FILE)}
    for entry, record in zip(account.failures, planted, strict=True):
        assert entry["offset"] in offsets[record.file]
        if record.file == MIRROR_FILE:
            assert record.url in entry["example"]


def test_the_books_balance_down_to_the_rows_that_were_written(built: Built) -> None:
    ledger = built.result["ledger"]
    for entry, after in pairwise(ledger):
        out = sum(entry["dropped"].values()) + sum(entry["failed"].values())
        assert after["documents_in"] == entry["documents_kept"] == entry["documents_in"] - out
    assert ledger[-1]["documents_kept"] == built.result["documents"] == built.record.documents
    counts = {f"{e['stage']}:{kind}:{reason}": n for e in ledger for kind in KINDS for reason, n in e[kind].items()}
    for fate, planted in Counter(record.fate for record in DOCUMENTS if record.fate != KEPT).items():
        assert counts[fate] >= planted, fate


def test_evidence_names_a_document_that_stays(built: Built) -> None:
    checked = 0
    for record in DOCUMENTS:
        if record.fate != NEAR_DUPLICATE:
            continue
        history = built.history(record.name)
        [match] = [found for found in built.histories(history.compared["match"]) if not found.outcome]
        assert history.compared["similarity"] >= 0.8, record.name
        exact = history.viewed_text == match.viewed_text
        assert (history.compared["similarity"] == 1.0) == exact == (history.compared["lost"] == 0)
        checked += 1
    assert checked >= 4
    assert built.history("anthology").compared == {}


def test_the_ledger_tells_the_3_grams_that_went_with_copies(built: Built) -> None:
    """Recounted from the texts, with tuples of words."""
    words = lost = 0
    for record in DOCUMENTS:
        if record.fate == NEAR_DUPLICATE:
            history = built.history(record.name)
            [match] = [found for found in built.histories(history.compared["match"]) if not found.outcome]
            own, other = words_of(history.viewed_text), words_of(match.viewed_text)
            words += len(own)
            lost += len({*zip(own, own[1:], own[2:], strict=False)} - {*zip(other, other[1:], other[2:], strict=False)})
    [entry] = [entry for entry in built.result["ledger"] if entry["stage"] == "near_duplicates"]
    assert entry["measures"] == {"dropped_words": words, "lost_3_grams": lost}
    assert words > 1000 and lost > 0


def test_a_family_of_copies_keeps_the_best_of_those_that_pass_every_rule(built: Built) -> None:
    families: dict[str, list[Planted]] = {}
    for record in DOCUMENTS:
        if not record.id_of:
            families.setdefault(record.copy_of or record.name, []).append(record)
    assert sum(len(members) > 1 for members in families.values()) >= 3
    for members in families.values():
        passed = [record for record in members if record.fate in (KEPT, NEAR_DUPLICATE)]
        assert sum(record.fate == KEPT for record in passed) == min(len(passed), 1)


def test_lines_of_every_page_are_struck_and_text_is_not(built: Built) -> None:
    history = built.history("de")
    assert "demonstration crawl" in history.document["text"]
    assert "demonstration crawl" not in history.viewed_text
    assert "Eine Mühle" not in history.viewed_text and "Wer jemals eine Wassermühle besucht hat" in history.viewed_text
    assert "Subscribe to our newsletter" not in history.document["text"]
    assert history.steps["paragraphs"]["struck"] == 2


@pytest.mark.parametrize(
    ("name", "charset", "words"),
    [
        ("de", "cp1252", "gleichmäßige Klappern"),
        ("fr", "iso8859-15", "l'on découvre"),
        ("es", "cp1252", "Un otoño lluvioso"),
        ("pt", "cp1252", "nunca aprendeu a ler depressa, mas ninguém"),
        ("ru", "koi8-r", "старый мельник"),
        ("ja", "euc_jp", "水車小屋の主人"),
        ("zh", "gb18030", "水磨坊"),
    ],
)
def test_charsets_are_found_out(built: Built, name: str, charset: str, words: str) -> None:
    history = built.history(name)
    assert words in history.document["text"]
    assert json.loads(history.document["metadata"])["charset"] == charset
    assert history.steps["language"]["label"] == name


@pytest.fixture(scope="module")
def line(built: Built, millrace: Millrace) -> dict[str, Any]:
    """`millrace demo` on the lake of that build: training, scores and reports are what is left to do."""
    markers = set((Path(built.lake.uri) / "markers").rglob("*.json"))
    made = millrace.json("demo", "--lake", built.lake.uri, "--reports", str(built.cache.parent / "reports"))
    assert set((Path(built.lake.uri) / "markers").rglob("*.json")) == markers, "the corpus was there already"
    return made


def test_the_demo_builds_what_the_recipe_builds(built: Built, line: dict[str, Any]) -> None:
    assert (line["build"]["key"], line["build"]["digest"]) == (built.result["key"], built.result["digest"])
    assert [Path(path).name for path in line["archives"]] == [path.name for path in built.archives]


def test_both_models_learn(built: Built, line: dict[str, Any], millrace: Millrace) -> None:
    assert [run["preset"] for run in line["runs"]] == ["tiny-pythia", "tiny-llama"]
    for run in line["runs"]:
        losses = read_losses(built.lake, run["run"])
        assert losses[0].loss - losses[-1].loss >= 0.5
        scores = run["evaluations"]
        assert len(scores) >= 3
        assert scores[-1]["held_out"]["perplexity"] <= 0.7 * scores[0]["held_out"]["perplexity"]
        assert all(len(score["tasks"]) >= 2 for score in scores)
    listed = millrace.json("runs", "--lake", built.lake.uri)["runs"]
    assert {run["run"] for run in listed} == {run["run"] for run in line["runs"]}
    assert {run["state"] for run in listed} == {"finished"}


def test_each_run_has_a_report_with_the_numbers_of_the_ledger(line: dict[str, Any]) -> None:
    assert len(line["reports"]) == 2
    for path in line["reports"]:
        page = Path(path).read_text(encoding="utf-8")
        for entry in line["build"]["ledger"]:
            assert f"{entry['documents_in']:,}" in page


@pytest.mark.heavy
def test_a_second_demo_trains_and_scores_nothing(built: Built, line: dict[str, Any], millrace: Millrace) -> None:
    before = {path: path.stat().st_mtime_ns for path in (Path(built.lake.uri) / "runs").rglob("*.*")}
    again = millrace.json("demo", "--lake", built.lake.uri, "--reports", str(built.cache.parent / "reports"))
    assert [run["evaluations"] for run in again["runs"]] == [run["evaluations"] for run in line["runs"]]
    assert {path: path.stat().st_mtime_ns for path in (Path(built.lake.uri) / "runs").rglob("*.*")} == before


def test_there_is_enough_to_train_a_small_model_on(built: Built) -> None:
    assert built.result["tokens"] >= 200_000
    summary = next(part for part in built.record.manifest(built.lake, "tokens").parts if part.name == "summary.json")
    tokens = built.lake.read_json(summary.path)
    assert tokens["vocabulary"] == 4096
    assert 0.02 < tokens["sources"]["crawl.held-out"]["tokens"] / built.result["tokens"] < 0.3


def _member_offsets(path: Path) -> set[int]:
    """Where gzip members may begin."""
    return {found.start() for found in re.finditer(rb"\x1f\x8b\x08", path.read_bytes())}
