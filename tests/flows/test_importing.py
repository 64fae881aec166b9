"""`millrace import tokens`: token files of others become a corpus to train on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flows.cli.main import application
from infra.store.lake import Lake
from infra.store.tokens import TokenFile, TokenWriter
from model.run.data import open_order, open_validation
from tasks.builds import find_build
from tasks.run_request import TrainingRequest, requested_run
from tasks.token_artifact import read_summary, token_digests
from tasks.tokenizer import TOKENIZER_FILE, TokenizerConfig, fit_tokenizer

LENGTH = 128
ROWS = 40


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = pa.table({"text": ["the mill stands by the lake"] * 20})
    folder = tmp_path_factory.mktemp("tokenizer")
    return fit_tokenizer(iter([table]), TokenizerConfig(vocabulary_size=300), folder)[TOKENIZER_FILE]


def write(prefix: Path, documents: list[int], seed: int, vocabulary: int = 270) -> None:
    prefix.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    with TokenWriter(prefix.with_name(f"{prefix.name}.bin"), prefix.with_name(f"{prefix.name}.idx"), vocabulary) as out:
        for size in documents:
            out.append(rng.integers(0, vocabulary, size))


def millrace(*arguments: str) -> Any:
    done = CliRunner().invoke(application, ["import", "tokens", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(application, ["import", "tokens", *arguments])
    assert done.exit_code == 1, done.output
    return " ".join(done.output.split())


def request(**training: Any) -> TrainingRequest:
    return TrainingRequest.model_validate(
        {"preset": "tiny-pythia", "training": {"steps": 2, "batch": 4, "sequence_length": LENGTH, **training}}
    )


def test_pre_shuffled_rows_are_read_in_their_order(tokenizer: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "rows", [LENGTH + 1] * ROWS, 1)
    common = ["--tokenizer", str(tokenizer), "--lake", str(tmp_path / "lake")]
    made = millrace(f"pile={tmp_path / 'in' / 'rows'}", "--name", "corpus/rows", *common)
    assert (made["documents"], made["tokens"]) == (ROWS, ROWS * (LENGTH + 1))
    lake = Lake.open(str(tmp_path / "lake"))
    tokens = find_build(lake, "corpus/rows").manifest(lake, "tokens")
    order = open_order(lake, requested_run(lake, tokens, request(compat="rows")), tmp_path / "cache")
    stored = TokenFile(tmp_path / "in" / "rows.bin", tmp_path / "in" / "rows.idx")
    for number in range(8):
        assert (order.tokens(number) == stored.document(number)).all()


def test_sources_of_several_files_and_splits(tokenizer: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a0", "a1", "b", "valid")):
        write(tmp_path / "in" / name, [50, 1000, 70] * 5, number)
    folder = tmp_path / "in"
    made = millrace(
        *(f"a={folder / 'a0'}", f"a={folder / 'a1.bin'}", f"b={folder / 'b'}"),
        *("--validation", f"a={folder / 'valid'}", "--name", "corpus/ab"),
        *("--tokenizer", str(tokenizer), "--lake", str(tmp_path / "lake")),
    )
    assert made["documents"] == 60
    lake = Lake.open(str(tmp_path / "lake"))
    build = find_build(lake, "corpus/ab")
    tokens = build.manifest(lake, "tokens")
    assert read_summary(lake, tokens)["mixture"] == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    # However a source is cut, its digest is that of one file with all of it.
    whole = [TokenFile(folder / f"a{number}.bin", folder / f"a{number}.idx") for number in range(2)]
    with TokenWriter(folder / "a.bin", folder / "a.idx", 270) as out:
        for file in whole:
            for number in range(file.documents):
                out.append(file.document(number))
    other = str(tmp_path / "other")
    millrace(f"a={folder / 'a'}", "--name", "corpus/a", "--tokenizer", str(tokenizer), "--lake", other)
    again = Lake.open(other)
    assert token_digests(again, find_build(again).manifest(again, "tokens"))["a"] == token_digests(lake, tokens)["a"]
    config = requested_run(lake, tokens, request(validation={"every": 1, "sequences": 4}))
    validation = open_validation(lake, config, tmp_path / "cache")
    assert validation is not None and [source.name for source in config.validation_sources] == ["a"]
    verified = CliRunner().invoke(application, ["verify", "corpus/ab", "--lake", str(tmp_path / "lake")])
    assert verified.exit_code == 0, verified.output
    for command in (["report", "corpus/ab"], ["explain", "a/1", "--build", "corpus/ab"]):
        done = CliRunner().invoke(application, [*command, "--lake", str(tmp_path / "lake")])
        assert done.exit_code == 1 and "imported as tokens" in " ".join(done.output.split()), done.output


def test_what_cannot_be_imported_is_told(tokenizer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "good", [50] * 5, 1)
    write(folder / "wide", [50] * 5, 2, vocabulary=5000)
    shutil.copyfile(folder / "good.bin", folder / "cut.bin")
    (folder / "cut.idx").write_bytes((folder / "good.idx").read_bytes()[:-3])
    (folder / "short.bin").write_bytes((folder / "good.bin").read_bytes()[:-2])
    shutil.copyfile(folder / "good.idx", folder / "short.idx")
    lake = tmp_path / "lake"
    rest = ["--name", "corpus/x", "--tokenizer", str(tokenizer), "--lake", str(lake)]
    assert "the tokenizer has" in refused(f"a={folder / 'wide'}", *rest)
    assert "there is no file" in refused(f"a={folder / 'none'}", *rest)
    assert "fetch it again" in refused(f"a={folder / 'cut'}", *rest)
    assert "truncated" in refused(f"a={folder / 'short'}", *rest)
    assert "SOURCE=PREFIX" in refused(str(folder / "good"), *rest)
    assert "no name of a source" in refused(f"../a={folder / 'good'}", *rest)
    assert "no files to train on" in refused(f"a={folder / 'good'}", "--validation", f"b={folder / 'good'}", *rest)
    assert "is not a tokenizer" in refused(f"a={folder / 'good'}", *rest[:3], str(folder / "good.bin"), *rest[4:])
    assert not [*(lake / "names").rglob("*.json")]
