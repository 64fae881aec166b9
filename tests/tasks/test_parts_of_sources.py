"""A file with the documents of many sets: each set is a part with token files and a share of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.build import make_corpus
from flows.recipe import parse_recipe
from infra.engine.pool import LocalPool
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.store.tokens import TokenFile
from tasks.builds import BuildRecord
from tasks.recipe.resolve import resolve
from tasks.run_request import TrainingRequest, requested_run
from tasks.settings import RecipeError
from tasks.token_artifact import read_summary, token_files
from tasks.tokenizer import TOKENIZER_FILE, load_tokenizer
from tests.tasks.report.conftest import DirectRunner

SETS = 22
PER_SET = 10
VALUES = [f"Set {number} (x)" for number in range(SETS)]
NAMES = [f"set-{number}" for number in range(SETS)]


def rows() -> list[dict[str, Any]]:
    """Every fifth document repeats the one before. Texts are no prose: nothing of them may change."""
    found = []
    for number in range(SETS * PER_SET):
        same = number - 1 if number % 5 == 4 else number
        text = f"  \tdocument {same}\r\n\r\nwith a tab\x0c and a form feed {same * 7919} \n\n"
        found.append({"text": text, "meta": {"pile_set_name": VALUES[number % SETS]}})
    return found


def repeated_rows() -> list[dict[str, Any]]:
    """As `rows`, with the copies in the sets of what they copy."""
    found = rows()
    for number in range(4, len(found), 5):
        found[number] = found[number - 1]
    return found


def write(folder: Path, kind: str, documents: list[dict[str, Any]], files: int = 2) -> None:
    folder.mkdir()
    size = -(-len(documents) // files)
    for number in range(files):
        own = documents[number * size : (number + 1) * size]
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(own), folder / f"{number}.parquet", row_group_size=7)
        else:
            (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))


def recipe(folder: Path, kind: str = "jsonl", **source: Any) -> dict[str, Any]:
    parts = {name: {"value": value, "share": number + 1} for number, (name, value) in enumerate(zip(NAMES, VALUES))}
    read = {kind: {"part_field": "meta.pile_set_name", "verbatim": True}}
    pile = {"read": read, "inputs": [str(folder)], "parts": parts, **source}
    return {"name": "pile", "sources": {"pile": pile}, "tokenizer": {"vocabulary_size": 300}}


def build(pool: LocalPool, folder: Path, values: dict[str, Any]) -> tuple[Lake, BuildRecord, Manifest]:
    lake = Lake.open(str(folder / "lake"))
    record = make_corpus(DirectRunner(lake, pool, lambda label, done, total: None), resolve(parse_recipe(values, "x")))
    return lake, record, record.manifest(lake, "tokens")


def texts_of(lake: Lake, tokens: Manifest) -> dict[str, list[str]]:
    """The documents of each token file of training, decoded, without the token behind them."""
    [tokenizer] = [Path(lake.uri, part.path) for part in tokens.parts if part.name == TOKENIZER_FILE]
    decoder = load_tokenizer(tokenizer)
    found: dict[str, list[str]] = {}
    for name, files in token_files(tokens).items():
        for file in files:
            opened = TokenFile(Path(lake.uri, file.bin.path), Path(lake.uri, file.idx.path))
            for number in range(opened.documents):
                found.setdefault(name, []).append(decoder.decode(opened.document(number).tolist()[:-1]))
    return found


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_every_row_is_in_the_tokens_of_its_set(pool: LocalPool, tmp_path: Path, kind: str) -> None:
    documents = repeated_rows()
    write(tmp_path / "in", kind, documents)
    lake, record, tokens = build(pool, tmp_path, recipe(tmp_path / "in", kind))
    assert record.documents == len(documents) == SETS * PER_SET
    expected: dict[str, list[str]] = {}
    for row in documents:
        name = NAMES[VALUES.index(row["meta"]["pile_set_name"])]
        expected.setdefault(f"pile.{name}", []).append(row["text"])
    assert texts_of(lake, tokens) == expected
    summary = read_summary(lake, tokens)
    assert set(summary["sources"]) == set(expected)
    total = SETS * (SETS + 1) / 2
    assert summary["mixture"] == pytest.approx({f"pile.{name}": (n + 1) / total for n, name in enumerate(NAMES)})
    corpus = record.manifest(lake, "pile/corpus")
    found = [row for part in corpus.parts for row in pq.read_table(Path(lake.uri, part.path)).to_pylist()]
    assert sorted(row["text"] for row in found) == sorted(row["text"] for row in documents)
    assert len({row["id"] for row in found}) == len(documents)


def test_splits_of_parts(pool: LocalPool, tmp_path: Path) -> None:
    write(tmp_path / "in", "jsonl", rows())
    lake, record, tokens = build(pool, tmp_path, {**recipe(tmp_path / "in"), "tokens": {"held_out_every": 3}})
    held_out = token_files(tokens, ".held-out")
    assert set(held_out) == {f"pile.{name}" for name in NAMES} == set(token_files(tokens))
    counted = read_summary(lake, tokens)["sources"]
    assert sum(one["documents"] for one in counted.values()) == record.documents
    assert sum(one["documents"] for name, one in counted.items() if name.endswith(".held-out")) == record.documents // 3


def test_what_is_in_no_part_is_told(pool: LocalPool, tmp_path: Path) -> None:
    documents = [*rows(), {"text": "no set"}, {"text": "odd", "meta": {"pile_set_name": 7}}]
    write(tmp_path / "in", "jsonl", documents, 1)
    parts = {"first": VALUES[0], "second": VALUES[1]}
    lake, record, tokens = build(pool, tmp_path, recipe(tmp_path / "in", parts=parts))
    account = record.manifest(lake, "pile/documents").account
    assert account.dropped == {"other_part": (SETS - 2) * PER_SET}
    assert account.failed == {"no_part": 2}
    assert set(token_files(tokens)) == {"pile.first", "pile.second"}
    assert read_summary(lake, tokens)["mixture"] == {"pile.first": 0.5, "pile.second": 0.5}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"read": "jsonl"}, "part_field"),
        ({"parts": {}}, "list its parts"),
        ({"share": 1}, "the source neither"),
        ({"parts": {"a": "x", "b": "x"}}, "two parts"),
        ({"parts": {"validation": "x"}}, "invalid"),
        ({"parts": {"A b": "x"}}, "invalid"),
        ({"parts": {"a": {"value": "x", "share": 1}, "b": "y"}}, "in place of a source, its parts"),
        ({"read": {"wet": {}}}, "part_field"),
        ({"read": {"jsonl": {"parts": {"x": "y"}, "part_field": "z"}}}, "list them there"),
    ],
)
def test_parts_that_cannot_be(tmp_path: Path, source: dict[str, Any], message: str) -> None:
    with pytest.raises((RecipeError, ValueError), match=message):
        resolve(parse_recipe(recipe(tmp_path, **source), "x"))


def test_a_source_that_is_a_split_is_not_trained_on(pool: LocalPool, tmp_path: Path) -> None:
    write(tmp_path / "in", "jsonl", rows())
    write(tmp_path / "valid", "jsonl", rows()[:50], 1)
    write(tmp_path / "test", "jsonl", rows()[50:90], 1)
    values = recipe(tmp_path / "in")
    pile = values["sources"]["pile"]
    parts = dict(zip(NAMES, VALUES, strict=True))
    values["sources"] |= {
        "valid": {**pile, "inputs": [str(tmp_path / "valid")], "parts": parts, "split": "validation"},
        "test": {"read": "jsonl", "inputs": [str(tmp_path / "test")], "split": "held-out"},
    }
    lake, record, tokens = build(pool, tmp_path, values)
    summary = read_summary(lake, tokens)
    assert set(summary["mixture"]) == {f"pile.{name}" for name in NAMES} == set(token_files(tokens))
    assert set(token_files(tokens, ".validation")) == {f"valid.{name}" for name in NAMES}
    assert set(token_files(tokens, ".held-out")) == {"test"}
    assert summary["sources"]["test.held-out"]["documents"] == 40
    training = {"steps": 1, "batch": 1, "sequence_length": 16, "validation": {"every": 1, "sequences": 2}}
    request = TrainingRequest.model_validate({"preset": "tiny-pythia", "training": training})
    config = requested_run(lake, tokens, request)
    assert {source.name for source in config.sources} == set(summary["mixture"])
    assert {source.name for source in config.validation_sources} == {f"valid.{name}" for name in NAMES}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"split": "validation"}, "omit share"),
        ({"split": "held-out", "parts": {"a": "x"}}, "nothing to train"),
    ],
)
def test_splits_that_cannot_be(tmp_path: Path, source: dict[str, Any], message: str) -> None:
    with pytest.raises((RecipeError, ValueError), match=message):
        resolve(parse_recipe(recipe(tmp_path, **source), "x"))


def test_bins_of_a_column_are_parts(pool: LocalPool, tmp_path: Path) -> None:
    """Short documents are trained on once, long ones three times, and those without a value as the rest."""
    documents = [{"text": " ".join(["word"] * count)} for count in (1, 2, 3, 10, 11, 12, 50)]
    write(tmp_path / "in", "jsonl", documents, 1)
    parts: dict[str, Any] = {
        "short": {"at_most": 3, "epochs": 1},
        "middle": {"at_most": 20, "epochs": 3},
        "rest": {"epochs": 2},
    }
    source = {
        "read": "jsonl",
        "inputs": [str(tmp_path / "in")],
        "steps": ["heuristics"],
        "parts_by": "heuristics.word_count",
        "parts": parts,
    }
    values = {"name": "binned", "sources": {"s": source}, "tokenizer": {"vocabulary_size": 300}}
    lake, _, tokens = build(pool, tmp_path, values)
    found = {name: sorted(len(text.split()) for text in texts) for name, texts in texts_of(lake, tokens).items()}
    assert found == {"s.short": [1, 2, 3], "s.middle": [10, 11, 12], "s.rest": [50]}
    counted = read_summary(lake, tokens)
    sizes = {name: one["tokens"] for name, one in counted["sources"].items()}
    wanted = {"s.short": sizes["s.short"], "s.middle": 3 * sizes["s.middle"], "s.rest": 2 * sizes["s.rest"]}
    assert counted["mixture"] == pytest.approx({name: size / sum(wanted.values()) for name, size in wanted.items()})


BINS: dict[str, Any] = {"read": "jsonl", "steps": ["heuristics"], "parts_by": "heuristics.word_count"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({**BINS, "parts": {"a": {"at_most": 3}}}, "no threshold"),
        ({**BINS, "parts": {"rest": {}, "a": {"at_most": 3}}}, "no threshold"),
        ({**BINS, "parts": {"a": "x", "rest": {}}}, "one_of is for strings"),
        ({**BINS, "parts_by": "language.label", "parts": {"a": "en", "rest": {}}}, "no step language"),
        ({**BINS, "read": {"jsonl": {"part_field": "x"}}, "parts": {"a": {"at_most": 3}, "rest": {}}}, "either"),
        ({"read": {"jsonl": {"part_field": "x"}}, "parts": {"a": {"at_most": 3}}}, "has a value"),
    ],
)
def test_bins_that_cannot_be(source: dict[str, Any], message: str) -> None:
    with pytest.raises((RecipeError, ValueError), match=message):
        resolve(parse_recipe({"name": "x", "sources": {"s": source}}, "x"))
