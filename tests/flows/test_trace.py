"""`millrace trace`: steps to documents, documents to steps, and batches as they were read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner, Result

from flows.cli.trace import trace
from infra.store.digests import sha256_file
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, artifact_digest, store_part, write_manifest
from infra.store.tokens import TokenFile
from model.observers.losses import Losses
from model.observers.records import StepRecord
from model.order import Order, sequences_digest
from model.run.config import RunConfig, create_run, run_config
from model.run.data import open_order
from tasks.token_artifact import TOKENS_VERSION, token_digests, token_files
from tasks.tokenizer import TOKENIZER_FILE, TokenizerConfig, fit_tokenizer, load_tokenizer
from tasks.tokens import EncodeConfig, TokensConfig, encode, load_encoder
from tasks.tracing.byte_spans import ByteSpans
from tasks.tracing.tracer import Tracer
from tests.model.support.small import SHAPES, training_values
from tests.tasks.tokens_by_hand import tokens_by_hand

TAKEN = 12
BATCH = 8
application = typer.Typer()
application.command()(trace)


@dataclass(frozen=True)
class World:
    """A lake with tokens and their lineage, and a run that has taken twelve of its steps."""

    lake: Lake
    config: RunConfig
    order: Order
    texts: dict[str, str]
    tokenizer: Path

    def ask(self, *arguments: str) -> Result:
        return CliRunner().invoke(application, [self.config.key[:10], "--lake", self.lake.uri, *arguments])

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.ask(*arguments, "--json")
        assert done.exit_code == 0, done.output
        value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return value


def url_of(number: int) -> str | None:
    """The URL of a document: some have none, and two of different sources the same."""
    if number in (21, 22):
        return "https://docs.example/again"
    return f"https://docs.example/{number}" if number % 2 else None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("trace")
    lake = Lake.open(str(folder / "lake"))
    texts = {f"topic/{name}": f"é {topics[name]}" for name in sorted(topics)[:30]}
    table = pa.table(
        {
            "id": list(texts),
            "url": [url_of(number) for number in range(30)],
            "text": list(texts.values()),
            "source": ["first" if number % 3 else "second" for number in range(30)],
            "cluster": pa.nulls(30, pa.string()),
        }
    )
    tokenizer = fit_tokenizer(iter([table]), TokenizerConfig(vocabulary_size=400), folder)[TOKENIZER_FILE]
    ids = encode(table, EncodeConfig(), load_encoder(EncodeConfig(), {TOKENIZER_FILE: tokenizer}))["ids"]
    config = TokensConfig(mixture={"first": 0.75, "second": 0.25}, validation=0.2)
    target = folder / "tokens"
    target.mkdir()
    files = tokens_by_hand([table.append_column("encode.ids", ids)], config, target, tokenizer, group_rows=4)
    parts = tuple(
        store_part(lake, path, name=name, rows=-1, content=sha256_file(path), suffix=path.suffix)
        for name, path in sorted(files.items())
    )
    account = Account(rows_in=30, kept=30)
    models = {TOKENIZER_FILE: sha256_file(tokenizer)}
    rest: dict[str, Any] = {"inputs": {}, "libraries": {}, "details": {}, "cost": {}, "created": "2026-01-01T00:00:00"}
    made = Manifest(
        "0" * 64,
        artifact_digest(parts),
        "tokens",
        TOKENS_VERSION,
        {},
        models=models,
        parts=parts,
        account=account,
        **rest,
    )
    write_manifest(lake, made)
    run = write_run(lake, made)
    order = open_order(lake, run, folder / "cache")
    write_records(lake, run, order)
    return World(lake, run, order, texts, tokenizer)


def write_run(lake: Lake, tokens: Manifest) -> RunConfig:
    files, digests = token_files(tokens), token_digests(lake, tokens)
    assert all(len(found) > 1 for found in files.values())
    sources = [
        {
            **{"name": name, "weight": weight, "epochs": 9, "digest": digests[name]},
            "files": [{"bin": asdict(file.bin), "idx": asdict(file.idx)} for file in files[name]],
        }
        for name, weight in (("first", 0.75), ("second", 0.25))
    ]
    model = {**SHAPES["pythia"], "vocabulary": 512}
    schedule = {"kind": "cosine", "learning_rate": 1e-2, "minimum": 1e-3, "warmup": 3, "decay": 24}
    training = training_values(batch=BATCH, schedule=schedule)
    values = {"model": model, "training": training, "sources": sources, "seed": 7, "label": ""}
    config = run_config(values)
    create_run(lake, config)
    return config


def write_records(lake: Lake, config: RunConfig, order: Order) -> None:
    losses = Losses(lake, config.key)
    for step in range(1, TAKEN + 1):
        sequences = range(BATCH * (step - 1), BATCH * step)
        digest = sequences_digest(order.fingerprint, config.seed, sequences)
        losses.on_step_end(StepRecord(step, 0.0, 0.0, 0.0, 0, digest, sequences.start, 0.0))
    losses.commit(TAKEN)


def test_a_step_s_documents_are_what_it_read(world: World) -> None:
    """Rebuilt from the corpus alone: each span's bytes of the document's text are what the tokens decode to."""
    tokenizer = load_tokenizer(world.tokenizer)
    told = world.json("--step", "5")
    assert (told["batch"], told["taken"]) == (4, True)
    assert [one["sequence"] for one in told["sequences"]] == list(range(32, 40))
    for sequence in told["sequences"]:
        tokens = world.order.tokens(sequence["sequence"])
        assert sum(span["tokens"] for span in sequence["documents"]) == 33
        for span in sequence["documents"]:
            text = world.texts[span["id"]].encode()
            begin, end = span["bytes"]
            ids = tokens[span["start"] : span["start"] + span["tokens"]].tolist()
            assert tokenizer.decode(ids) == text[begin:end].decode(errors="replace")
            number = list(world.texts).index(span["id"])
            assert span["url"] == url_of(number)
    shown = world.ask("--step", "5")
    assert told["skipped"] is None
    assert shown.exit_code == 0 and "step 5 reads batch 4" in shown.stdout and "topic/" in shown.stdout


def test_a_document_s_steps_are_those_that_list_it(world: World, tmp_path: Path) -> None:
    tracer = Tracer(world.lake, world.config.key, tmp_path)
    listed: dict[str, list[tuple[int, int]]] = {}
    for step in range(1, TAKEN + 1):
        for sequence in tracer.step(step)["sequences"]:
            for identity in dict.fromkeys(span["id"] for span in sequence["documents"]):
                listed.setdefault(identity, []).append((step, sequence["sequence"]))
    apart = 0
    for identity in world.texts:
        [told] = tracer.document(identity)["documents"]
        assert [(one["step"], one["sequence"]) for one in told["steps"]] == listed.get(identity, [])
        apart += told["split"] == "validation"
    assert 0 < apart < 15 and len(listed) > 10
    identity = next(iter(listed))
    assert world.json("--document", identity) == json.loads(json.dumps(tracer.document(identity)))
    shown = world.ask("--document", "https://docs.example/1")
    assert shown.exit_code == 0 and "of first" in shown.stdout


def test_all_documents_of_a_url_are_told(world: World) -> None:
    """Two documents, of two sources: a page that two crawls have read."""
    told = world.json("--document", "https://docs.example/again")
    names = list(world.texts)
    assert [(one["source"], one["id"]) for one in told["documents"]] == [("first", names[22]), ("second", names[21])]
    assert all(one["steps"] for one in told["documents"])
    for one in told["documents"]:
        assert {**told, "name": one["id"], "documents": [one]} == world.json("--document", one["id"])
    shown = world.ask("--document", "https://docs.example/again").stdout
    assert "2 documents have the id or URL" in shown and all(f"{one['id']}: " in shown for one in told["documents"])


@pytest.mark.parametrize("batch", [0, 11, 20])
def test_a_batch_is_written_as_it_is_read(world: World, tmp_path: Path, batch: int) -> None:
    expected = [world.order.tokens(index).tolist() for index in range(BATCH * batch, BATCH * (batch + 1))]
    told = world.json("--batch", str(batch), "--out", str(tmp_path / "batch.npy"))
    assert (told["step"], told["taken"]) == (batch + 1, batch < TAKEN)
    assert np.load(tmp_path / "batch.npy").tolist() == expected
    assert told["tokens_sha256"] == world.json("--step", str(batch + 1))["tokens_sha256"]
    told = world.json("--batch", str(batch), "--out", str(tmp_path / "batch.bin"))
    file = TokenFile(*map(Path, told["files"]))
    assert [file.document(row).tolist() for row in range(file.documents)] == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--step", "25"], "there is no step 25: the run"),
        (["--batch", "24", "--out", "x.npy"], "whose batches are 0 to 23"),
        (["--batch", "1", "--out", "x.txt"], "ends in .npy, or in .bin"),
        (["--document", "nobody"], "no document with the id or URL nobody"),
        ([], "give exactly one of"),
        (["--step", "1", "--document", "x"], "give exactly one of"),
        (["--batch", "1"], "must be given together"),
    ],
)
def test_wrong_questions_are_answered_in_one_line(world: World, arguments: list[str], words: str) -> None:
    done = world.ask(*arguments)
    assert done.exit_code in (1, 2) and words in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["batch.npy", "batch.bin", "batch.idx"])
def test_a_file_that_is_there_is_left_alone(world: World, tmp_path: Path, name: str) -> None:
    other = tmp_path / name.replace(".bin", ".idx")
    other.write_text("mine")
    done = world.ask("--batch", "1", "--out", str(tmp_path / name))
    assert done.exit_code == 1 and f"{other} already exists" in "".join(done.stderr.split("\n"))
    assert other.read_text() == "mine" and list(tmp_path.iterdir()) == [other]


def test_a_place_that_cannot_be_written_is_told(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = world.ask("--batch", "1", "--out", str(tmp_path / "file" / "x.npy"))
    assert done.exit_code == 1 and "cannot be written" in " ".join(done.stderr.split())


def test_other_tokenizers_give_no_bytes(world: World) -> None:
    class Other:
        def to_str(self) -> str:
            return json.dumps({"decoder": {"type": "Metaspace"}})

    assert ByteSpans(Other()).span(np.array([1, 2]), 0, 1) is None
