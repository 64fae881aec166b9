"""Policies in a recipe: what they cost anew when a list changes, what the ledger says, and captured files of sites."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.store.ledger import Account
from tasks.builds import BuildRecord
from tasks.recipe.resolve import resolve
from tasks.report.history import histories_of
from tasks.tokenizer import TokenizerConfig, fit_tokenizer
from tests.tasks.report.conftest import DirectRunner
from tests.tasks.site_files import captured
from tests.tasks.sources.samples import page, warc_record

FILES, PER_FILE = 6, 10


def build(pool: LocalPool, folder: Path, recipe: dict[str, Any]) -> tuple[Lake, BuildRecord]:
    lake = Lake.open(str(folder / "lake"))
    tokenizer = folder / "tokenizer"
    if not tokenizer.exists():
        tokenizer.mkdir()
        fit_tokenizer(
            iter([pa.table({"text": ["the mill turns"] * 9})]), TokenizerConfig(vocabulary_size=300), tokenizer
        )
    # A given tokenizer: one that is fitted sees the change in the corpus, and everything is encoded anew.
    whole = {"name": "policies", "tokenizer": {"file": str(tokenizer / "tokenizer.json")}, **recipe}
    return lake, make_corpus(
        DirectRunner(lake, pool, lambda label, done, total: None), resolve(parse_recipe(whole, "x"))
    )


def units(lake: Lake) -> Counter[str]:
    """The markers of the lake, by stage."""
    return Counter(entry.path.split("/")[1] for entry in lake.list("markers"))


def dropped(lake: Lake, record: BuildRecord) -> dict[str, int]:
    accounts: list[Account] = [manifest.account for manifest in record.corpora(lake).values()]
    return dict(sum((Counter(account.dropped) for account in accounts), Counter()))


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        with (tmp_path / "in" / f"{number}.jsonl").open("w") as file:
            for row in range(PER_FILE):
                text = f"The mill number {number} of row {row} stands by the river. " * 3
                url = f"https://host-{row}.example/{number}"
                file.write(json.dumps({"id": f"{number}-{row}", "text": text, "url": url}) + "\n")
    steps = [
        {"opt_outs": {"model": str(tmp_path / "opt-outs.txt")}},
        *("urls", "language", "heuristics", "exact_duplicates"),
    ]
    return {
        "sources": {
            "web": {
                "read": {"jsonl": {"id_field": "id"}},
                "inputs": [str(tmp_path / "in")],
                "steps": steps,
                "rules": [{"column": "opt_outs.hit", "at_most": 0, "reason": "opted_out"}],
            }
        }
    }


def test_a_new_list_makes_anew_what_it_touches(pool: LocalPool, tmp_path: Path, recipe: dict[str, Any]) -> None:
    listed = tmp_path / "opt-outs.txt"
    listed.write_text("host-0.example 2026-01-01\n")
    lake, record = build(pool, tmp_path, recipe)
    before = units(lake)
    assert before["rules"] == before["corpus"] == before["encode"] == before["heuristics"] == FILES
    assert dropped(lake, record) == {"opt_outs:opted_out": FILES}

    # A new line above the others, about one page.
    listed.write_text("# of November\nhttps://host-7.example/3 2026-11-01\nhost-0.example 2026-01-01\n")
    lake, record = build(pool, tmp_path, recipe)
    new = units(lake) - before
    assert dropped(lake, record) == {"opt_outs:opted_out": FILES + 1}
    # The look-up reads addresses only. Of what is behind it, one shard of six is made anew.
    assert new.pop("opt_outs") == FILES
    assert {stage: new[stage] for stage in ("rules", "corpus", "encode")} == {"rules": 1, "corpus": 1, "encode": 1}
    assert new["outcomes"] <= 3 and new["groups"] == 0
    for stage in ("jsonl", "urls", "language", "heuristics", "exact_duplicates", "ids", "index"):
        assert not new[stage], stage

    [history] = histories_of(lake, record, "web/3-7", tmp_path)
    life = history.to_json()
    assert life["fate"] == "opt_outs:dropped:opted_out"
    assert life["stages"]["opt_outs"] == {"hit": 1, "entry": "https://host-7.example/3", "since": "2026-11-01"}


def test_captures_of_sites_are_a_reference(pool: LocalPool, tmp_path: Path) -> None:
    robots = b"User-agent: GPTBot\nDisallow: /private\n"
    (tmp_path / "robots.warc").write_bytes(
        captured("https://mill.example/robots.txt", robots)
        + captured("https://mill.example/.well-known/tdmrep.json", b'[{"location": "/tdm", "tdm-reservation": 1}]')
    )
    paths = ("open", "private/a", "tdm", "noai")
    pages = [
        warc_record(
            page(**({"X_Robots_Tag": "noai"} if path == "noai" else {})),
            number=number,
            uri=f"https://mill.example/{path}",
        )
        for number, path in enumerate(paths)
    ]
    (tmp_path / "pages.warc").write_bytes(
        b"".join(pages)
        + warc_record(page(), number=9, uri="https://other.example/")
        + warc_record(page(), number=8, uri="http://www.mill.example/open/?utm_x", WARC_Date="2024-02-02T00:00:00Z")
    )
    lake, record = build(
        pool,
        tmp_path,
        {
            "models": {"captures": {"fit": "site_captures", "on": ["sites"]}},
            "references": {"sites": {"read": "site_files", "inputs": [str(tmp_path / "robots.warc")]}},
            "sources": {
                "web": {
                    "read": "web_archive",
                    "inputs": [str(tmp_path / "pages.warc")],
                    "steps": [
                        "rights",
                        {"robots": {"model": "captures", "agents": ["GPTBot"]}},
                        {"tdmrep": {"model": "captures"}},
                        {"url_duplicates": {"survivors": ["latest"]}},
                    ],
                    "rules": [
                        {"column": "robots.disallowed", "at_most": 0, "reason": "robots_txt", "missing": "passes"},
                        {"column": "tdmrep.reserved", "at_most": 0, "reason": "tdm_reserved", "missing": "passes"},
                        {"column": "rights.noai", "at_most": 0, "reason": "noai", "missing": "passes"},
                    ],
                }
            },
        },
    )
    assert dropped(lake, record) == {
        **{"robots:robots_txt": 1, "tdmrep:tdm_reserved": 1, "rights:noai": 1},
        "url_duplicates:same_url": 1,
    }
    [old] = histories_of(lake, record, "http://www.mill.example/open/?utm_x", tmp_path)
    assert old.to_json()["fate"] == "url_duplicates:dropped:same_url"
