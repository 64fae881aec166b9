"""The commands that ask: what they print for people and for programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Millrace, build


@pytest.fixture(scope="module")
def built(millrace: Millrace, pages: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    lake = str(tmp_path_factory.mktemp("commands") / "lake")
    return lake, build(millrace, lake, pages[:1])


def test_doctor_finds_everything(millrace: Millrace, tmp_path: Path) -> None:
    found = millrace.json("doctor", "--lake", str(tmp_path / "lake"))
    assert found["healthy"]
    assert not (tmp_path / "lake").exists(), "asking made a lake"
    assert {"prefect", "torch", "deepspeed", "lmplz", "lake", "language model"} <= {
        check["what"] for check in found["checks"]
    }


def test_doctor_says_what_is_wrong(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sick = millrace.run("doctor", "--lake", str(tmp_path / "file" / "lake"))
    assert sick.returncode == 1
    assert "lake" in sick.stdout


def test_artifacts_and_names_are_listed(millrace: Millrace, built: tuple[str, dict[str, Any]]) -> None:
    lake, result = built
    listed = millrace.json("artifacts", "--lake", lake)
    assert listed["names"] == {"corpus/crawl": result["key"]}
    assert {item["stage"] for item in listed["artifacts"]} >= {"web_archive", "corpus", "tokens", "language_models"}
    assert "corpus/crawl" in millrace.run("artifacts", "--lake", lake).stdout


def test_a_ledger_is_that_of_the_build(millrace: Millrace, built: tuple[str, dict[str, Any]]) -> None:
    lake, result = built
    assert millrace.json("ledger", "corpus/crawl", "--lake", lake)["ledger"] == result["ledger"]
    assert millrace.json("ledger", result["key"][:10], "--lake", lake)["ledger"] == result["ledger"]
    source = result["artifacts"]["source/crawl"]["key"]
    account = millrace.json("ledger", source, "--lake", lake)["account"]
    assert account["rows_in"] == result["ledger"][0]["documents_in"]
    _funnel_is_readable(millrace.run("ledger", "corpus/crawl", "--lake", lake, COLUMNS="80").stdout, result["ledger"])
    unknown = millrace.run("ledger", "corpus/unheard-of", "--lake", lake)
    assert (unknown.returncode, "nothing is named corpus/unheard-of" in unknown.stderr) == (1, True)


def _funnel_is_readable(shown: str, ledger: list[dict[str, Any]]) -> None:
    assert "What became of every record" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    for entry in ledger:
        counts = entry["documents_in"], entry["documents_kept"], entry["documents_in"] - entry["documents_kept"]
        assert [entry["stage"], *(f"{count:,}" for count in counts), f"{entry['bytes_in']:,}"] in cells
        for fate in ("dropped", "failed"):
            for reason, count in entry[fate].items():
                assert [entry["stage"], fate, reason, f"{count:,}"] in cells


def test_a_corpus_of_no_document_is_told(
    millrace: Millrace, built: tuple[str, dict[str, Any]], pages: list[str], tmp_path: Path
) -> None:
    lake = str(shutil.copytree(built[0], tmp_path / "lake"))
    settings = ["--set", "name=none-left", "--set", "rules.word_count.at_least=90000"]
    done = millrace.run("build", "crawl", "--input", pages[0], "--lake", lake, *settings, "--json")
    assert done.returncode == 0, done.stderr
    empty = json.loads(done.stdout)
    assert empty["documents"] == 0
    [warning] = empty["warnings"]
    assert "No document is left" in warning
    most = max(
        (count, reason)
        for entry in empty["ledger"]
        for fate in ("dropped", "failed")
        for reason, count in entry[fate].items()
    )
    assert f"{most[1]}: {most[0]}" in warning
    assert done.stderr == warning + "\n"
    assert built[1]["warnings"] == []


def test_tokens_are_made_anew_with_another_tokenizer(
    millrace: Millrace, built: tuple[str, dict[str, Any]], shared_data: Path
) -> None:
    lake, result = built
    neox = str(shared_data / "tokenizers" / "neox-20B_tokenizer.json")
    made = millrace.json("tokenize", "corpus/crawl", "--tokenizer", neox, "--name", "neox", "--lake", lake)
    assert made["documents"] == result["documents"]
    assert made["digest"] != result["digest"]
    listed = millrace.json("artifacts", "--lake", lake)["names"]
    assert listed == {"corpus/crawl": result["key"], "neox": made["key"]}
    assert millrace.json("verify", "neox", "--lake", lake)["faults"] == []


def test_recipes_are_checked_without_being_built(millrace: Millrace) -> None:
    assert millrace.json("recipe", "list")["recipes"] == ["crawl", "demo"]
    assert millrace.json("recipe", "check", "crawl")["name"] == "crawl"
    wrong = millrace.run("recipe", "check", "crawl", "--set", "rules.word_count.column=words")
    assert wrong.returncode == 1
    assert "heuristics has no column words; it has word_count" in wrong.stderr
    misspelt = millrace.run("recipe", "check", "crawl", "--set", "near_duplicate.threshold=0.7")
    assert "near_duplicate" in misspelt.stderr and misspelt.returncode == 1


def test_json_is_alone_on_standard_output(
    millrace: Millrace, built: tuple[str, dict[str, Any]], pages: list[str]
) -> None:
    done = millrace.run("build", "crawl", "--input", pages[0], "--lake", built[0], "--json")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
