"""The commands that ask: what they print for people and for programs."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from flows.cli.doctor import accelerator, energy
from infra.store.lake import Lake
from tasks.builds import find_build
from tasks.token_artifact import read_summary
from tests.flows.conftest import Millrace, build


@pytest.fixture(scope="module")
def built(millrace: Millrace, pages: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    lake = str(tmp_path_factory.mktemp("commands") / "lake")
    return lake, build(millrace, lake, pages[:1])


@pytest.mark.usefixtures("ports_of_machine")
def test_doctor_finds_everything(millrace: Millrace, tmp_path: Path) -> None:
    millrace = replace(millrace, environment={**millrace.environment, "MILLRACE_STATE": str(tmp_path)})
    found = millrace.json("doctor", "--lake", str(tmp_path / "lake"))
    assert found["healthy"]
    assert not (tmp_path / "lake").exists(), "asking made a lake"
    assert {
        "authentication",
        "open ports",
        "file modes",
        "prefect",
        "torch",
        "deepspeed",
        "lmplz",
        "lake",
        "language model",
        "accelerator",
        "energy",
    } <= {check["what"] for check in found["checks"]}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], "no GPU: training runs on the CPU"),
        (["NVIDIA H200"] * 2, "2 × NVIDIA H200 (peak 989 TFLOP/s in bf16)"),
        (["NVIDIA H200 NVL"], "1 × NVIDIA H200 NVL (peak unknown, so MFU is not reported)"),
        (["Tesla V100-SXM2-32GB"], "1 × Tesla V100-SXM2-32GB (peak 125 TFLOP/s in fp16)"),
    ],
)
def test_doctor_knows_gpus_by_name(monkeypatch: pytest.MonkeyPatch, names: list[str], found: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])
    assert accelerator() == {"what": "accelerator", "ok": True, "found": found}


def test_doctor_says_what_energy_will_be_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    for name, value in (("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "100")):
        (package / name).write_text(value)
    assert energy(tmp_path)["found"] == "measured: RAPL package-0, all programs of the machine"
    assert "CPU energy is not measured" in energy(tmp_path / "none")["found"]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid="0"))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy(tmp_path)["found"] == (
        "measured: RAPL package-0, all programs of the machine; "
        "GPU energy is not measured: the package nvidia-ml-py is not installed; "
        "install it with `pip install nvidia-ml-py`"
    )


def test_a_missing_password_is_one_sentence(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"")
    arguments = ("build", "crawl", "--input", str(tmp_path / "a.warc"), "--lake", str(tmp_path / "lake"))
    url = millrace.environment["PREFECT_API_URL"]
    refused = millrace.run(*arguments, PREFECT_API_AUTH_STRING="", MILLRACE_STATE=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        f"The server {url} requires a password: set PREFECT_API_AUTH_STRING to USER:PASSWORD."
    )


def test_doctor_says_what_is_wrong(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sick = millrace.run("doctor", "--lake", str(tmp_path / "file" / "lake"))
    assert sick.returncode == 1
    assert "lake" in sick.stdout


def test_doctor_tells_errors_of_the_server(millrace: Millrace, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("21:04:13.418 | ERROR   | docket.dependencies - ↩ [ 9ms] schedule_deployments(){}\nKeyError: 'x'\n")
    log.chmod(0o600)
    sick = millrace.run("doctor", "--lake", str(tmp_path / "lake"), "--json", MILLRACE_STATE=str(tmp_path))
    assert sick.returncode == 1
    [check] = [check for check in json.loads(sick.stdout)["checks"] if not check["ok"]]
    assert check["what"] == "Prefect server"
    assert check["found"] == f"errors since its last start: 1 × schedule_deployments: KeyError: 'x'; see {log}"


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
    source = result["artifacts"]["crawl/documents"]["key"]
    account = millrace.json("ledger", source, "--lake", lake)["account"]
    assert account["rows_in"] == result["ledger"][0]["documents_in"]
    _funnel_is_readable(millrace.run("ledger", "corpus/crawl", "--lake", lake, COLUMNS="80").stdout, result["ledger"])
    unknown = millrace.run("ledger", "corpus/unheard-of", "--lake", lake)
    assert (unknown.returncode, "has no name corpus/unheard-of" in unknown.stderr) == (1, True)


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
    assert "The corpus is empty" in warning
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
    options = ["--tokenizer", neox, "--end-of-document", "<|padding|>", "--name", "neox"]
    made = millrace.json("tokenize", "corpus/crawl", *options, "--lake", lake)
    opened = Lake.open(lake)
    summary = read_summary(opened, find_build(opened, "neox").manifest(opened, "tokens"))
    assert (summary["end_of_document"], summary["end_of_text"]) == ("<|padding|>", 1)
    assert made["documents"] == result["documents"]
    assert made["digest"] != result["digest"]
    listed = millrace.json("artifacts", "--lake", lake)["names"]
    assert listed == {"corpus/crawl": result["key"], "neox": made["key"]}
    assert millrace.json("verify", "neox", "--lake", lake)["faults"] == []


def test_recipes_are_checked_without_being_built(millrace: Millrace) -> None:
    assert millrace.json("recipe", "list")["recipes"] == [
        *("crawl", "demo", "llama", "neox", "opt", "pythia", "pythia-deduped")
    ]
    assert millrace.json("recipe", "check", "crawl")["recipe"]["name"] == "crawl"
    wrong = millrace.run("recipe", "check", "crawl", "--set", "rules.word_count.column=heuristics.words")
    assert wrong.returncode == 1
    assert "heuristics has no column words; it has word_count" in wrong.stderr
    misspelt = millrace.run("recipe", "check", "crawl", "--set", "near_duplicate.threshold=0.7")
    assert "near_duplicate" in misspelt.stderr and misspelt.returncode == 1


def test_a_check_tells_what_a_lake_has(millrace: Millrace, built: tuple[str, dict[str, Any]], pages: list[str]) -> None:
    asked = ("recipe", "check", "crawl", "--input", pages[0], "--lake", built[0])
    found = millrace.json(*asked, "--set", "rules.word_count.at_least=60")
    assert found["settings"] == {"rules.word_count.at_least": ["sources.crawl.rules.word_count.at_least"]}
    states = {task["name"]: task["state"] for task in found["tasks"]}
    behind = {"crawl: rules", "outcomes", "crawl: corpus", "tokenizer", "crawl: encode", "tokens"}
    assert {name for name, state in states.items() if state == "to build"} == behind
    unchanged = millrace.json(*asked)["tasks"]
    assert {task["state"] for task in unchanged} == {"there"}
    assert {task["state"] for task in millrace.json("recipe", "check", "crawl")["tasks"]} == {"unknown"}


def test_recipes_are_compared(millrace: Millrace) -> None:
    found = millrace.json("recipe", "diff", "crawl", "crawl", "--set", "near_duplicates.survivors=[earliest]")
    [difference] = found["differences"]
    assert difference == {
        "path": "sources.crawl.steps.near_duplicates.survivors",
        "left": ["longest", "earliest"],
        "right": ["earliest"],
    }
    assert found["made_anew"] == ["outcomes", "crawl/corpus", "tokenizer", "crawl/encode", "tokens"]
    shown = millrace.run("recipe", "diff", "crawl", "crawl")
    assert "The recipes are the same." in shown.stdout
    assert millrace.json("recipe", "show", "crawl")["sources"]["crawl"]["read"]["stage"] == "web_archive"


def test_json_is_alone_on_standard_output(
    millrace: Millrace, built: tuple[str, dict[str, Any]], pages: list[str]
) -> None:
    done = millrace.run("build", "crawl", "--input", pages[0], "--lake", built[0], "--json")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
