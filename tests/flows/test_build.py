"""The line from archives to tokens on real pages: books, digests, and what is computed again after a change."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.engine.shards import PartReader
from infra.store.lake import Lake
from tasks.builds import find_build
from tests.flows.conftest import Millrace, build, digests, markers


@pytest.fixture(scope="module")
def built(
    millrace: Millrace, pages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A lake with one build, which tests do not change."""
    lake = tmp_path_factory.mktemp("built") / "lake"
    return lake, build(millrace, lake, pages, "--workers", "1")


@pytest.fixture
def lake(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of that lake, to change."""
    return Path(shutil.copytree(built[0], tmp_path / "lake"))


def test_every_record_has_a_fate(built: tuple[Path, dict[str, Any]]) -> None:
    result = built[1]
    assert {"uri", "digest", "key", "documents", "tokens", "ledger"} <= set(result)
    ledger = result["ledger"]
    assert (ledger[0]["stage"], ledger[0]["documents_in"]) == ("source", 118)
    for entry, after in pairwise(ledger):
        out = sum(entry["dropped"].values()) + sum(entry["failed"].values())
        assert entry["documents_in"] == entry["documents_kept"] + out
        assert after["documents_in"] == entry["documents_kept"]
        if entry["stage"] != "source":
            assert after["bytes_in"] == entry["bytes_kept"]
    assert ledger[-1]["documents_kept"] == result["documents"] > 80
    assert result["tokens"] > 50_000


def test_workers_do_not_change_a_digest(
    millrace: Millrace, pages: list[str], built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    again = build(millrace, tmp_path / "lake", pages, "--workers", "2")
    assert digests(again) == digests(built[1])
    assert again["key"] == built[1]["key"]


def test_a_rebuild_runs_no_kernel(
    millrace: Millrace, pages: list[str], lake: Path, built: tuple[Path, dict[str, Any]]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in lake.rglob("*.json") if "builds" not in str(path)}
    again = build(millrace, lake, pages)
    assert digests(again) == digests(built[1])
    changed = [path for path, modified in before.items() if path.stat().st_mtime_ns != modified]
    assert [path.parent.name for path in changed] == ["corpus"], "only the name corpus/crawl is written again"
    assert markers(lake) == markers(built[0])


def test_a_threshold_moves_without_a_scoring_kernel(millrace: Millrace, pages: list[str], lake: Path) -> None:
    before = markers(lake)
    tight = build(millrace, lake, pages, "--set", "rules.word_count.at_least=200")
    loose = build(millrace, lake, pages, "--set", "rules.word_count.at_least=10")
    after = markers(lake)
    assert tight["documents"] < loose["documents"]
    # An experiment does not move the name that others train on.
    assert tight["name"] == f"corpus/crawl-{tight['key'][:12]}" != loose["name"]
    names = millrace.json("artifacts", "--lake", str(lake))["names"]
    assert names["corpus/crawl"] not in (tight["key"], loose["key"])
    assert (names[tight["name"]], names[loose["name"]]) == (tight["key"], loose["key"])
    assert {stage for stage in after if after[stage] != before.get(stage)} == {
        "rules",
        "outcomes",
        "corpus",
        "tokenizer",
        "encode",
        "tokens",
    }


def test_a_moved_floor_runs_exactly_the_stages_behind_it(millrace: Millrace, pages: list[str], lake: Path) -> None:
    def with_floor(least: float) -> dict[str, Any]:
        rule = "rules.low_language_score.at_least=0.8"
        return build(
            millrace,
            lake,
            pages,
            "--set",
            rule,
            "--set",
            f"floors=[{{column: language.score, at_least: {least}}}]",
        )

    with_floor(0.6)
    before = markers(lake)
    moved = with_floor(0.7)
    after = markers(lake)
    changed = {stage for stage in after if after[stage] != before.get(stage)}
    assert {"heuristics", "signatures", "perplexity"} <= changed, "steps behind the language"
    assert not changed & {"web_archive", "paragraphs", "language", "index"}
    # Below the floor is below the threshold, so the corpus is that of no floor at all.
    rule = "rules.low_language_score.at_least=0.8"
    assert build(millrace, lake, pages, "--set", rule)["digest"] == moved["digest"]


def test_an_added_archive_is_read_alone(millrace: Millrace, pages: list[str], lake: Path, shared_data: Path) -> None:
    """With a group of shards that is full, nothing that was found out about the others changes."""
    group = ("--set", f"paragraphs.files_per_group={len(pages)}")
    build(millrace, lake, pages, *group)
    before = markers(lake)
    added = build(millrace, lake, [*pages, str(shared_data / "archives" / "whirlwind.warc.gz")], *group)
    after = markers(lake)
    for stage in ("web_archive", "language", "heuristics", "signatures"):
        assert len(after[stage] - before[stage]) == 1, stage
    assert added["ledger"][0]["documents_in"] == 118 + 4


def test_a_threshold_looser_than_its_floor_is_refused(millrace: Millrace, pages: list[str], tmp_path: Path) -> None:
    floor = "floors=[{column: language.score, at_least: 0.9}]"
    refused = millrace.run("build", "crawl", "--input", pages[0], "--lake", str(tmp_path), "--set", floor, "--json")
    assert refused.returncode == 1
    assert "no rule is at least as strict as the floor on language.score" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_explain_tells_of_kept_and_dropped_documents(millrace: Millrace, pages: list[str], lake: Path) -> None:
    build(millrace, lake, pages, "--set", "rules.low_language_score.at_least=0.9")
    opened = Lake.open(str(lake))
    record = find_build(opened)
    reader = PartReader(opened, lake)
    parts = record.manifest(opened, "outcomes").parts
    tables = [pq.read_table(reader.path(part)).to_pylist() for part in parts]
    rows = [{"shard": n, "row": place, **row} for n, table in enumerate(tables) for place, row in enumerate(table)]
    documents = record.manifest(opened, "crawl/documents")
    for fate in ("", "language:dropped:low_language_score"):
        row = next(row for row in rows if row["outcome"] == fate)
        table = pq.read_table(reader.path(documents.parts[row["shard"]]))
        identity = table["id"][row["row"]].as_py()
        history = millrace.json("explain", identity, "--lake", str(lake))["documents"][0]
        assert history["fate"] == (fate or "kept")
        assert history["stages"]["language"]["label"]
        assert history["metadata"]["offset"] >= 0
        words = millrace.run("explain", table["url"][row["row"]].as_py(), "--lake", str(lake))
        assert ("It is in the corpus" if not fate else "dropped by language") in words.stdout
    unknown = millrace.run("explain", "nobody", "--lake", str(lake))
    assert unknown.returncode == 1
    assert "no document of the build" in unknown.stderr


def test_verify_finds_a_changed_byte_and_the_next_build_mends_it(
    millrace: Millrace, pages: list[str], lake: Path, built: tuple[Path, dict[str, Any]]
) -> None:
    assert millrace.json("verify", "corpus/crawl", "--lake", str(lake))["faults"] == []
    part = max((lake / "parts").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    broken = millrace.run("verify", "corpus/crawl", "--lake", str(lake), "--forget")
    assert broken.returncode == 1
    assert "its bytes changed" in broken.stdout
    assert digests(build(millrace, lake, pages)) == digests(built[1])
    assert millrace.json("verify", "corpus/crawl", "--lake", str(lake))["faults"] == []


def test_gc_takes_what_no_name_needs(
    millrace: Millrace, pages: list[str], lake: Path, built: tuple[Path, dict[str, Any]]
) -> None:
    build(millrace, lake, pages, "--set", "rules.word_count.at_least=200", "--name", "corpus/crawl")
    build(millrace, lake, pages)
    planned = millrace.json("gc", "--dry-run", "--lake", str(lake), "--older-than-hours", "0")
    assert planned["objects"] > 0 and not planned["deleted"]
    assert millrace.json("gc", "--lake", str(lake), "--older-than-hours", "0")["objects"] == planned["objects"]
    assert millrace.json("verify", "corpus/crawl", "--lake", str(lake))["faults"] == []
    assert digests(build(millrace, lake, pages)) == digests(built[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["crawl"], "the source crawl has no inputs"),
        (["crawl", "--input", "nowhere/*.warc.gz"], "matches no file"),
        (["unheard-of"], "there is no recipe unheard-of"),
        (["crawl", "--set", "rules.unheard_of.at_least=1"], "the list has no unheard_of"),
        (["crawl", "--set", "near_duplicates.threshold=2"], "near_duplicates.threshold: Input should be less than"),
    ],
)
def test_wrong_input_is_one_short_message(millrace: Millrace, tmp_path: Path, arguments: list[str], words: str) -> None:
    done = millrace.run("build", *arguments, "--lake", str(tmp_path / "lake"))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
