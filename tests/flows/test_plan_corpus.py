"""`millrace plan corpus`, as typed, and the commands of docs/planning.md."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.main import application
from infra.store.lake import Lake
from tasks.forecast.record import find_forecast
from tests.tasks.forecast.test_making import text
from tests.tasks.sources.samples import COMPRESSIONS, page, warc_record

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
RECIPE = """
name: small
sources:
  web: {read: jsonl, steps: [language], rules: [{column: language.score, at_least: 0.1, reason: score}]}
tokenizer: {vocabulary_size: 400}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.yaml").write_text(RECIPE)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text(number)}) + "\n" for number in range(200)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(application, ["plan", "corpus", *arguments])


def answer(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return value


def test_a_forecast_is_kept_in_the_lake_and_the_same_twice(folder: Path) -> None:
    first = answer("small.yaml", "--input", "in.jsonl", "--sample", "0.2", "--keep", "--lake", "lake")
    assert first["every"] == 5 and first["read"] == 40 and first["found"] == 200
    assert [stage["name"] for stage in first["stages"]][:2] == ["web/documents", "ids"]
    for value in ("tokens", "bytes", "seconds", "wall_seconds", "requests", "memory"):
        assert 0 < first[value]["low"] <= first[value]["value"] <= first[value]["high"]
    stored = find_forecast(Lake.open("lake"), first["key"])
    assert stored is not None and stored.tokens.value == first["tokens"]["value"]
    again = answer("small.yaml", "--input", "in.jsonl", "--sample", "0.2", "--lake", "lake", "--workers", "4")
    for value in ("key", "documents", "tokens", "text_bytes"):
        assert again[value] == first[value]
    # Without --keep nothing is left, neither a lake nor a sample.
    run("small.yaml", "--input", "in.jsonl", "--lake", "other")
    assert not (folder / "other").exists()
    assert not list(folder.glob("millrace-*"))


def test_for_people(folder: Path) -> None:
    result = run("small.yaml", "in.jsonl", "--sample", "0.2", "--workers", "3")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    for words in ("40 of 200 records were read", "web/documents", "CPU-hours", "tokens", " to ", "near-duplicates"):
        assert words in said
    assert "wall time, 3 workers" in said


def test_slips(folder: Path) -> None:
    (folder / "pipe.jsonl").symlink_to("nowhere")
    for arguments, words in (
        (("small.yaml",), "has no inputs"),
        (("nosuch", "--input", "in.jsonl"), "there is no recipe nosuch"),
        (("small.yaml", "--input", "missing.jsonl"), "matches no file"),
        (("small.yaml", "--input", "pipe.jsonl"), "cannot be followed"),
        (("small.yaml", "--input", "in.jsonl", "--sample", "2"), "above 0 and at most 1"),
        (("small.yaml", "--input", "in.jsonl", "--set", "language.nothing=1"), "nothing"),
    ):
        result = run(*arguments, "--json")
        assert result.exit_code == 1, result.output
        assert words in json.loads(result.stdout.splitlines()[-1])["error"]


@pytest.fixture
def crawl(folder: Path) -> Iterator[None]:
    (folder / "crawl").mkdir()
    compress = COMPRESSIONS["gzip"]
    pages = (page("".join(f"<p>{text(7 * number + part)}</p>" for part in range(7))) for number in range(60))
    records = (compress(warc_record(block, number=number)) for number, block in enumerate(pages))
    (folder / "crawl" / "one.warc.gz").write_bytes(b"".join(records))
    yield


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_run(crawl: None, command: str) -> None:
    program, *arguments = shlex.split(command)
    done = CliRunner().invoke(application, arguments)
    assert program == "millrace" and done.exit_code == 0, done.output
