"""A run's checkpoints evaluated from the lake, in the process that the flow launches and without it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tokenizers
import torch

from infra.store.digests import canonical, sha256_file
from infra.store.errors import NotThere, StoreUnavailable
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, artifact_digest, store_part, write_manifest
from model.analysis.scoring import load_checkpoint
from model.run.config import RunConfig, create_run, run_config
from tasks.evaluation import evaluate
from tasks.evaluation.evaluate import Evaluation
from tasks.evaluation.harness import NativeModel, score
from tasks.evaluation.inputs import (
    fetch_tokenizer,
    held_out_files,
    held_out_texts,
    open_tokenizer,
    tokens_artifact,
    tokens_of_run,
)
from tasks.evaluation.launch import evaluate_command
from tasks.evaluation.made_tasks import write_made_tasks
from tasks.evaluation.results import evaluation_path, read_evaluations
from tasks.token_artifact import TOKENS_VERSION, token_digests, token_files
from tasks.tokenizer import END_OF_TEXT, TOKENIZER_FILE
from tasks.tokens import EncodeConfig, TokensConfig, encode, load_encoder
from tests.model.support.small import training_values
from tests.model.support.trained import train_here
from tests.tasks.evaluation.small import POSITIONS, SHAPE, fit_small_tokenizer, topic_texts, write_tasks
from tests.tasks.tokens_by_hand import tokens_by_hand

ROOT = Path(__file__).resolve().parents[3]
LENGTH = 32
STEPS = [0, 6, 12]


@dataclass(frozen=True)
class World:
    """A lake with tokens of two sources, held out in part, and a short run over them."""

    lake: Lake
    config: RunConfig
    tokens: Manifest
    tokenizer: Path
    cache: Path

    def evaluation(self, tasks: Path) -> Evaluation:
        return Evaluation(self.lake, self.config.key, self.tokens, self.tokenizer, tasks, threads=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    lake = Lake.open(str(folder / "lake"))
    tokenizer = fit_small_tokenizer(folder)
    store_part(lake, tokenizer, name=TOKENIZER_FILE, rows=-1, content=sha256_file(tokenizer), suffix=".json")
    tokens = write_artifact(lake, folder, tokenizer, held_out_every=4)
    config = train(lake, tokens, folder / "cache")
    return World(lake, config, tokens, tokenizer, folder / "cache")


@pytest.fixture(scope="module")
def tasks(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both kinds of task, made of the held-out documents."""
    tokenizer = open_tokenizer(world.tokenizer, world.tokens, END_OF_TEXT)
    texts = list(held_out_texts(world.lake, world.tokens, tokenizer, world.cache))
    return write_made_tasks(texts, tmp_path_factory.mktemp("tasks"), items=12, positions=POSITIONS)


def write_artifact(lake: Lake, folder: Path, tokenizer: Path, held_out_every: int) -> Manifest:
    texts = topic_texts(0, 40)
    sources = ["first" if number % 3 else "second" for number in range(len(texts))]
    ids = [f"document {number}" for number in range(len(texts))]
    table = pa.table({"id": ids, "text": texts, "source": sources})
    vocabulary = load_encoder(EncodeConfig(), {TOKENIZER_FILE: tokenizer})
    column = encode(table, EncodeConfig(), vocabulary)["ids"]
    config = TokensConfig(mixture={"first": 0.75, "second": 0.25}, held_out_every=held_out_every)
    target = folder / f"tokens {held_out_every}"
    target.mkdir()
    files = tokens_by_hand([table.append_column("encode.ids", column)], config, target, tokenizer, group_rows=9)
    parts = tuple(
        store_part(lake, path, name=name, rows=-1, content=sha256_file(path), suffix=path.suffix)
        for name, path in sorted(files.items())
    )
    manifest = Manifest(
        key=f"{held_out_every:064x}",
        digest=artifact_digest(parts),
        stage="tokens",
        version=TOKENS_VERSION,
        config=config.model_dump(mode="json"),
        inputs={},
        libraries={},
        models={TOKENIZER_FILE: sha256_file(tokenizer)},
        parts=parts,
        account=Account(rows_in=len(texts), kept=len(texts)),
        details={},
        cost={},
        created="2026-11-21T00:00:00Z",
    )
    write_manifest(lake, manifest)
    return manifest


def train(lake: Lake, tokens: Manifest, cache: Path) -> RunConfig:
    files, digests = token_files(tokens), token_digests(lake, tokens)
    sources: list[dict[str, Any]] = [
        {
            **{"name": name, "weight": weight, "epochs": 9, "digest": digests[name]},
            "files": [{"bin": asdict(file.bin), "idx": asdict(file.idx)} for file in files[name]],
        }
        for name, weight in (("first", 0.75), ("second", 0.25))
    ]
    training = training_values(steps=12, sequence_length=LENGTH, checkpoints={"kind": "every", "every": 6})
    config = run_config({"model": SHAPE, "training": training, "sources": sources, "seed": 7})
    create_run(lake, config)
    train_here(lake, config, cache, micro_batch=8)
    return config


def test_the_launched_process_scores_every_checkpoint(world: World, tasks: Path, tmp_path: Path) -> None:
    command = evaluate_command(
        world.lake.uri,
        world.config.key,
        STEPS,
        tokens=world.tokens.key,
        tokenizer=world.tokenizer,
        tasks=tasks,
        cache=tmp_path,
    )
    done = subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["step 0", "step 6", "step 12"]
    assert "last_word perplexity" in lines[0] and "continuation_choice acc_norm" in lines[0]

    results = read_evaluations(world.lake, world.config.key)
    assert [result["step"] for result in results] == STEPS
    for result in results:
        path = evaluation_path(world.config.key, result["step"], result["key"])
        assert world.lake.read(path) == canonical(result)
        assert [(task["name"], task["items"]) for task in result["tasks"]] == [
            ("continuation_choice", 12),
            ("last_word", 12),
        ]
        assert set(result["tasks"][0]["metrics"]) == {"acc", "acc_norm"}
        assert set(result["tasks"][1]["standard_errors"]) == {"acc", "perplexity"}
    assert results[2]["held_out"]["perplexity"] < 0.8 * results[0]["held_out"]["perplexity"]
    # Another process finds them, and the numbers are its own.
    evaluation = world.evaluation(tasks)
    assert evaluation.evaluate(6, tmp_path) == (results[1], True)
    world.lake.delete(evaluation_path(world.config.key, 6, results[1]["key"]))
    again, cached = evaluation.evaluate(6, tmp_path)
    assert not cached and without_times(again) == without_times(results[1])


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    tasks = [{**task, "seconds": 0} for task in result["tasks"]]
    return {**result, "tasks": tasks, "seconds": 0}


def test_held_out_perplexity_by_hand(world: World, tasks: Path, tmp_path: Path) -> None:
    result, _ = world.evaluation(tasks).evaluate(12, tmp_path)
    model = load_checkpoint(world.lake, world.config.key, 12, tmp_path)
    total, count = 0.0, 0
    for one in held_out_files(world.tokens):
        file = one.open(world.lake, tmp_path)
        tokens = torch.from_numpy(file.read(0, file.tokens).astype("int64"))
        of_source = 0.0
        for first in range(0, len(tokens) - 1, LENGTH):
            window = tokens[first : first + LENGTH + 1]
            log = model(window[None, :-1])[0].double().log_softmax(-1)
            of_source -= log.gather(1, window[1:, None]).sum().item()
        found = result["held_out"]["sources"][one.source]
        assert found["tokens"] == len(tokens) - 1
        assert found["perplexity"] == pytest.approx(math.exp(of_source / found["tokens"]), rel=1e-5)
        total, count = total + of_source, count + found["tokens"]
    assert set(result["held_out"]["sources"]) == {"first", "second"}
    assert result["held_out"]["tokens"] == count
    assert result["held_out"]["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
    assert result["held_out"]["perplexity"] == round(result["held_out"]["perplexity"], 6)


def test_other_tasks_are_another_result(world: World, tasks: Path, tmp_path: Path) -> None:
    first, _ = world.evaluation(tasks).evaluate(0, tmp_path)
    item = {"text": "One word and then another word"}
    other = world.evaluation(write_tasks(tmp_path, [({"kind": "last_word", "name": "words"}, [item])]))
    result, cached = other.evaluate(0, tmp_path)
    assert not cached and result["key"] != first["key"]
    assert result["tasks"][0]["standard_errors"] == {"acc": None, "perplexity": None}, "one item has no spread"
    assert other.evaluate(0, tmp_path) == (result, True)
    # The scores of both are there, and those of an older version.
    assert world.evaluation(tasks).evaluate(0, tmp_path) == (first, True)
    older = {**first, "key": "0" * 64, "tasks": [{**first["tasks"][0], "name": "older"}]}
    world.lake.write_json(f"runs/{world.config.key}/evaluations/step-000000.json", older)
    found = read_evaluations(world.lake, world.config.key)[0]
    assert [task["name"] for task in found["tasks"]] == ["continuation_choice", "last_word", "older", "words"]
    world.lake.delete(f"runs/{world.config.key}/evaluations/step-000000.json")
    world.lake.delete(evaluation_path(world.config.key, 0, result["key"]))
    native = NativeModel(load_checkpoint(world.lake, world.config.key, 0, tmp_path), other.tokenizer)
    assert score(native, other.tasks[0]).metrics == result["tasks"][0]["metrics"]


def test_held_out_texts_are_the_documents(world: World) -> None:
    tokenizer = open_tokenizer(world.tokenizer, world.tokens, END_OF_TEXT)
    found = list(held_out_texts(world.lake, world.tokens, tokenizer, world.cache))
    texts = topic_texts(0, 40)
    assert len(found) == 9, "every fourth of 26 and of 14"
    for text in found:
        number = int(text.id.split()[1])
        assert text.text == texts[number]
        assert text.group == ("first" if number % 3 else "second")


def test_a_run_leads_to_its_tokens_and_tokenizer(world: World, tmp_path: Path) -> None:
    assert tokens_of_run(world.lake, world.config.key) == world.tokens
    found = fetch_tokenizer(world.lake, world.tokens, tmp_path)
    assert found.read_bytes() == world.tokenizer.read_bytes()
    with pytest.raises(NotThere, match=r"run\.json"):
        tokens_of_run(world.lake, "0" * 64)
    with pytest.raises(NotThere, match="millrace artifacts"):
        tokens_artifact(world.lake, "0" * 64)


def test_inputs_that_do_not_fit_are_refused_first(world: World, tasks: Path, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="step-000005"):
        world.evaluation(tasks).evaluate(5, tmp_path)
    other = tmp_path / "other.json"
    changed = tokenizers.Tokenizer.from_file(str(world.tokenizer))
    changed.add_tokens(["another"])
    changed.save(str(other))
    with pytest.raises(ValueError, match=f"were made with {sha256_file(world.tokenizer)}"):
        Evaluation(world.lake, world.config.key, world.tokens, other, tasks, threads=1)
    nothing = write_artifact(world.lake, tmp_path, world.tokenizer, held_out_every=0)
    try:
        with pytest.raises(ValueError, match="held_out_every"):
            Evaluation(world.lake, world.config.key, nothing, world.tokenizer, tasks, threads=1)
    finally:
        world.lake.delete(nothing.path)


def test_the_process_says_what_is_wrong(world: World, tmp_path: Path) -> None:
    command = evaluate_command(
        world.lake.uri,
        world.config.key,
        [0],
        tokens=world.tokens.key,
        tokenizer=world.tokenizer,
        tasks=tmp_path / "missing.json",
        cache=tmp_path,
    )
    done = subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "missing.json" in done.stderr and done.stderr.count("\n") == 1


def test_a_store_that_cannot_be_asked_is_another_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """So that who launched it may try again; the other errors stay."""

    def unavailable(uri: str) -> Lake:
        raise StoreUnavailable(f"{uri} does not answer")

    paths = {"tokenizer": tmp_path, "tasks": tmp_path, "cache": tmp_path}
    command = evaluate_command("s3://away/lake", "0" * 64, [0], tokens="0" * 64, **paths)
    monkeypatch.setattr(sys, "argv", command[2:])
    monkeypatch.setattr(evaluate, "die_with_parent", lambda: None)
    monkeypatch.setattr(Lake, "open", unavailable)
    assert evaluate.main() == 75
    assert capsys.readouterr().err == "error: s3://away/lake does not answer\n"


def test_who_launches_needs_neither_torch_nor_the_harness() -> None:
    modules = [f"tasks.evaluation.{name}" for name in ("launch", "results", "inputs", "made_tasks", "definitions")]
    heavy = "{'torch', 'lm_eval', 'datasets', 'model'}"
    check = f"import sys, {', '.join(modules)}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
