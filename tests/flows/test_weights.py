"""`millrace export`, `import` and `generate`: a run's checkpoint to transformers and back, and text from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece
import tokenizers
import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from flows.cli.evaluate import evaluate
from flows.cli.train import train
from flows.cli.weights import export, generate, import_weights
from infra.store.digests import sha256_file
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, artifact_digest, store_part, write_manifest
from model.architectures.layers import LanguageModel
from model.checkpoints.files import write_file
from model.checkpoints.manifest import Checkpoint, checkpoint_folder, commit
from model.huggingface.folder import read_folder, write_folder
from model.huggingface.weights import SpecialTokens, crop_vocabulary
from model.run.config import create_run, run_config
from model.state.boxes import whole
from model.state.slices import Slice
from tasks.token_artifact import SUMMARY_FILE
from tasks.tokenizer import END_OF_TEXT, TOKENIZER_FILE, TokenizerConfig, fit_tokenizer
from tasks.tokenizer_file import tokenizer_faults
from tests.model.support.reference import largest_difference, random_model
from tests.model.support.small import training_values, write_text
from tests.model.support.weights import weights_of
from tests.tasks.evaluation.small import topic_texts
from tests.tasks.folders import opt_folder, small_llama_model

WORDS = 400  # of the tokenizer; the model's tables are padded to 512
PROMPT = "The value of the"
application = typer.Typer()
for name, command in {
    **{"export": export, "import": import_weights, "generate": generate},
    **{"train": train, "evaluate": evaluate},
}.items():
    application.command(name)(command)


@dataclass(frozen=True)
class World:
    """A lake with one run and its checkpoints 0 and 8, of which this is the model of the last."""

    lake: Lake
    run: str
    model: LanguageModel
    tokenizer: Path

    def millrace(self, *arguments: str) -> dict[str, Any]:
        """The JSON that a command prints."""
        done = CliRunner().invoke(application, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return values

    def error(self, *arguments: str) -> str:
        """The error of a command that fails with a short message."""
        done = CliRunner().invoke(application, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 1, done.output
        return str(json.loads(done.stdout.splitlines()[-1])["error"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def make_world(folder: Path, end_of_document: str = END_OF_TEXT) -> World:
    """With another end of documents, the tokenizer is of LLaMA's kind: it puts a token before every text."""
    torch.set_num_threads(1)
    lake = Lake.open(str(folder / "lake"))
    texts = pa.table({"text": topic_texts(0, 8)})
    [tokenizer] = fit_tokenizer(iter([texts]), TokenizerConfig(vocabulary_size=WORDS), folder).values()
    values: dict[str, Any] = {"vocabulary": WORDS, "end_of_text": 0, "mixture": {"text": 1.0}, "sources": {}}
    if end_of_document != END_OF_TEXT:
        content = json.loads(Path(tokenizer).read_text().replace(END_OF_TEXT, end_of_document))
        Path(tokenizer).write_text(json.dumps(content | {"post_processor": template("<|padding|>", 1)}))
        values["end_of_document"] = end_of_document
    tokens = write_text(folder / "text", ["assert", "if"])
    summary = folder / SUMMARY_FILE
    summary.write_text(json.dumps(values))
    files = {"text.bin": tokens.bin_path, "text.idx": tokens.idx_path, TOKENIZER_FILE: Path(tokenizer)}
    files[SUMMARY_FILE] = summary
    parts = {
        name: store_part(lake, path, name=name, rows=-1, content=sha256_file(path), suffix=path.suffix)
        for name, path in files.items()
    }
    manifest = Manifest(
        key="0" * 64,
        digest=artifact_digest(parts.values()),
        stage="tokens",
        version=1,
        config={},
        inputs={},
        libraries={},
        models={TOKENIZER_FILE: sha256_file(Path(tokenizer))},
        parts=tuple(parts.values()),
        account=Account(rows_in=2, kept=2),
        details={},
        cost={},
        created="2026-11-21T00:00:00Z",
    )
    write_manifest(lake, manifest)
    model = random_model("pythia", vocabulary=512, positions=64).eval()
    shape = {"architecture": "pythia", **asdict(model.config)}
    source = {"name": "text", "weight": 1.0, "epochs": 9}
    source |= {kind: asdict(parts[f"text.{kind}"]) for kind in ("bin", "idx")}
    schedule = {"kind": "cosine", "learning_rate": 1e-2, "minimum": 1e-3, "warmup": 3, "decay": 24}
    config = run_config(
        {"model": shape, "training": training_values(schedule=schedule), "sources": [source], "seed": 7}
    )
    run = create_run(lake, config)
    for step in (0, 8):
        slices = [
            Slice(name, "weight", tuple(value.shape), whole(tuple(value.shape)), value.detach() * (step == 8))
            for name, value in model.named_parameters()
        ]
        file = write_file(lake, checkpoint_folder(run, step), 0, "weights", slices, {}, folder / "scratch")
        commit(lake, Checkpoint(run, step, "", {}, (file,)))
    return World(lake, run, model, Path(tokenizer))


def template(token: str, id: int) -> dict[str, Any]:
    """A post-processor that puts a token before every text."""
    first, text = {"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    }


def test_a_named_end_of_documents_is_that_of_the_export(tmp_path: Path) -> None:
    """Neither an export nor a prompt begins with a token that the model never saw at the beginning of a text."""
    world, out = make_world(tmp_path, "</s>"), tmp_path / "out"
    world.millrace("export", world.run, str(out), "--lake", world.lake.uri)
    config = json.loads((out / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"], config["pad_token"]) == ("</s>", "</s>", "<|padding|>")
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert theirs.config.eos_token_id == tokenizer.eos_token_id == 0
    ids = tokenizer.encode(PROMPT)
    assert ids and 1 not in ids
    for checkpoint in (world.run, str(out)):
        done = world.millrace("generate", checkpoint, "--prompt", PROMPT, "--tokens", "3", "--lake", world.lake.uri)
        assert done["prompt_tokens"] == ids
    [first] = world.millrace("generate", world.run, "--tokens", "3", "--lake", world.lake.uri)["prompt_tokens"]
    assert first == 0


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """A folder as OPT's are published: no tokenizer.json."""
    folder = opt_folder(tmp_path_factory.mktemp("opt"), shared_data)
    model = random_model("opt", vocabulary=50_272, positions=64)
    write_folder(weights_of(model, SpecialTokens(begin=2, end=2, padding=1)), folder)
    return folder


def test_opt_as_published_is_imported_and_continues_a_text(opt: Path, world: World, tmp_path: Path) -> None:
    here, theirs = tmp_path / "here", AutoModelForCausalLM.from_pretrained(opt)
    done = world.millrace("import", str(opt), str(here))
    assert {"vocab.json", "merges.txt", "tokenizer.json"} <= set(done["tokenizer"])
    ids = AutoTokenizer.from_pretrained(opt).encode(PROMPT)
    assert ids[0] == 2
    mask = torch.ones(1, len(ids), dtype=torch.int64)
    reference = theirs.generate(torch.tensor([ids]), attention_mask=mask, max_new_tokens=5, do_sample=False)
    for checkpoint in (opt, here):
        made = world.millrace("generate", str(checkpoint), "--prompt", PROMPT, "--tokens", "5")
        assert made["prompt_tokens"] == ids
        assert [*ids, *made["tokens"]] == reference[0].tolist()
    # What was made can be named in a recipe, with the token that ends its documents.
    assert tokenizer_faults(str(here / "tokenizer.json"), "</s>") == []


def test_a_vocabulary_that_cannot_be_used_ends_the_import(opt: Path, world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(opt, broken)
    (broken / "merges.txt").write_text("#version: 0.2\nq\n")
    assert "no vocabulary of GPT-2's kind" in world.error("import", str(broken), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert "no vocabulary of GPT-2's kind" in world.error("generate", str(broken))


def test_a_sentencepiece_model_continues_a_text(world: World, tmp_path: Path) -> None:
    """Also the space is there at the beginning of what follows, which decoding alone would drop."""
    write_folder(weights_of(random_model("llama", vocabulary=330, positions=64)), tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(small_llama_model())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    done = world.millrace("generate", str(tmp_path), "--prompt", "The mill", "--tokens", "9")
    assert done["prompt_tokens"] == [1, *processor.encode("The mill")]
    assert "The mill" + done["text"] == processor.decode([*done["prompt_tokens"], *done["tokens"]])


def test_transformers_loads_an_exported_checkpoint(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = world.millrace("export", world.run[:10], str(out), "--lake", world.lake.uri)
    assert (done["run"], done["step"], done["architecture"]) == (world.run, 8, "pythia")
    assert done["parameters"] == world.model.config.parameters
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    ids = torch.tensor([tokenizer.encode(PROMPT)])
    assert ids[0].tolist() == tokenizers.Tokenizer.from_file(str(world.tokenizer)).encode(PROMPT).ids
    assert largest_difference(theirs(ids).logits, world.model(ids)) <= 1e-5
    assert theirs.config.eos_token_id == tokenizer.eos_token_id == 0
    assert theirs.config.pad_token_id == tokenizer.pad_token_id == 1
    assert theirs.config.hidden_act == "gelu_fast"


def test_a_step_and_a_cropped_vocabulary(world: World, tmp_path: Path) -> None:
    first, cropped = tmp_path / "first", tmp_path / "cropped"
    assert world.millrace("export", f"{world.run}@0", str(first), "--lake", world.lake.uri)["step"] == 0
    assert not read_folder(first).tensors["embedding.tokens.weight"].any()
    done = world.millrace("export", world.run, str(cropped), "--vocabulary", str(WORDS), "--lake", world.lake.uri)
    assert done["vocabulary"] == WORDS
    ids = torch.arange(2, 40)[None]
    logits = AutoModelForCausalLM.from_pretrained(cropped)(ids).logits
    assert largest_difference(logits, world.model(ids)[..., :WORDS]) <= 1e-5
    message = world.error("export", world.run, str(tmp_path / "no"), "--vocabulary", "300", "--lake", world.lake.uri)
    assert "is too small: the tokenizer has 400 tokens" in message
    assert not (tmp_path / "no").exists()


def test_there_and_back(world: World, tmp_path: Path) -> None:
    """Export, import and export again: the same bytes, and the tokenizer with them."""
    there, here, again = (str(tmp_path / name) for name in ("there", "here", "again"))
    world.millrace("export", world.run, there, "--lake", world.lake.uri)
    done = world.millrace("import", there, here)
    assert done["tokenizer"] == ["tokenizer.json", "tokenizer_config.json"]
    world.millrace("export", here, again)
    assert {path.name for path in Path(there).iterdir()} == {path.name for path in Path(again).iterdir()}
    for path in Path(there).iterdir():
        assert path.read_bytes() == (Path(again) / path.name).read_bytes(), path.name


def test_what_a_folder_of_weights_is_not_for_is_told(world: World, tmp_path: Path) -> None:
    """Training and evaluation take runs: neither moments nor a corpus stand in such a folder."""
    there, here = str(tmp_path / "there"), str(tmp_path / "here")
    world.millrace("export", world.run, there, "--lake", world.lake.uri)
    world.millrace("import", there, here)
    told = f"{here} is a folder, not a run: a folder of weights"
    assert told in world.error("evaluate", here, "--lake", world.lake.uri)
    assert told in world.error("train", "tiny-pythia", "--from", here, "--lake", world.lake.uri)


def test_greedy_text_is_that_of_transformers(world: World, tmp_path: Path) -> None:
    out, here = tmp_path / "out", tmp_path / "here"
    # Cropped, as transformers knows of no words that only pad.
    world.millrace("export", world.run, str(out), "--vocabulary", str(WORDS), "--lake", world.lake.uri)
    world.millrace("import", str(out), str(here))
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    ids = torch.tensor([tokenizer.encode(PROMPT)])
    reference = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
    expected = reference[0, ids.shape[1] :].tolist()
    arguments = ["--prompt", PROMPT, "--tokens", "20"]
    for checkpoint in (world.run[:8], f"{world.run[:8]}@8", str(out), str(here)):
        done = world.millrace("generate", checkpoint, *arguments, "--lake", world.lake.uri)
        assert done["tokens"] == expected
        assert done["prompt_tokens"] == ids[0].tolist()
        assert done["text"] == tokenizer.decode(expected, skip_special_tokens=True)
    shown = CliRunner().invoke(application, ["generate", str(here), *arguments])
    assert shown.stdout.startswith(PROMPT)


def test_draws_follow_the_seed(world: World) -> None:
    def text(*arguments: str) -> list[int]:
        ids: list[int] = world.millrace("generate", world.run, *arguments, "--lake", world.lake.uri)["tokens"]
        return ids

    one = text("--temperature", "1.5", "--seed", "1")
    assert one == text("--temperature", "1.5", "--seed", "1")
    assert one != text("--temperature", "1.5", "--seed", "2")
    assert text("--top-k", "1", "--tokens", "5") == text("--tokens", "5")
    # No more than there is room for, behind the token that begins a document.
    assert len(text("--top-p", "1.0")) <= 63


def test_a_prompt_beyond_the_models_words_is_refused(world: World, tmp_path: Path) -> None:
    """With a tokenizer that has more words than the model, the words that it knows still do."""
    small = tmp_path / "small"
    small.mkdir()
    write_folder(crop_vocabulary(weights_of(world.model), 100), small)
    shutil.copy(world.tokenizer, small / "tokenizer.json")
    message = world.error("generate", str(small), "--prompt", PROMPT)
    assert "400 tokens, but the model has only 100" in message
    assert len(world.millrace("generate", str(small), "--prompt", "!", "--tokens", "5")["tokens"]) == 5


def test_a_checkpoint_without_its_tokens_is_exported_without_a_tokenizer(world: World, tmp_path: Path) -> None:
    path = next(entry.path for entry in world.lake.list("artifacts/tokens"))
    kept = world.lake.read_json(path)
    world.lake.delete(path)
    try:
        out = tmp_path / "out"
        done = world.millrace("export", world.run, str(out), "--lake", world.lake.uri)
        assert done["tokenizer"] == []
        assert AutoModelForCausalLM.from_pretrained(out).config.eos_token_id is None
        assert "has no tokenizer, which" in world.error("generate", world.run, "--lake", world.lake.uri)
    finally:
        world.lake.write_json(path, kept)


def test_errors_are_one_short_message(world: World, tmp_path: Path) -> None:
    lake = ["--lake", world.lake.uri]
    assert "has no checkpoint at 3; it has [0, 8]" in world.error("export", f"{world.run}@3", "out", *lake)
    assert "neither a folder nor RUN or RUN@STEP" in world.error("export", f"{world.run}@last", "out", *lake)
    assert "0 runs" in world.error("generate", "ffff", *lake)
    assert "shorten the text" in world.error("generate", world.run, "--tokens", "90", *lake)
    assert "seed is 18446744073709551616" in world.error(
        "generate", world.run, "--temperature", "1", "--seed", str(2**64), *lake
    )
    assert "temperature is 0.0" in world.error("generate", world.run, "--temperature", "0", *lake)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    write_folder(weights_of(world.model), pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "a pickle" in world.error("import", str(pickled), str(tmp_path / "out"))
    (pickled / "tokenizer.json").write_text("[]")
    (pickled / "pytorch_model.bin").rename(pickled / "model.safetensors")
    assert "tokenizer.json is not a tokenizer of the" in world.error("generate", str(pickled))
    one = ["export", str(pickled), str(tmp_path / "out"), "--vocabulary"]
    assert "tokenizer.json is not a tokenizer of the" in world.error(*one, "512")
    (pickled / "tokenizer.json").unlink()
    assert "a vocabulary of 0 tokens: it must be 1 to 512" in world.error(*one, "0")
    config = json.loads((pickled / "config.json").read_text())
    (pickled / "config.json").write_text(json.dumps(config | {"num_attention_heads": 0}))
    for command in ("import", "export"):
        assert "config.json: num_attention_heads is 0" in world.error(command, str(pickled), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert "exists already" in world.error("export", world.run, str(pickled), *lake)
