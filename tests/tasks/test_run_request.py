"""Runs as they are asked for: presets and checkpoints to begin with, settings, labels, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pydantic
import pytest

from infra.store.digests import sha256_file
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, artifact_digest, store_part, write_manifest
from model.checkpoints.manifest import MANIFEST, Checkpoint, StoredFile, checkpoint_folder, commit
from model.presets import preset
from model.run.config import RunConfig, create_run
from model.run.data import open_order
from model.run.events import Change, Inherited, Lower, SkipData, record
from tasks.run_origin import describe_origin, find_origin
from tasks.run_request import TrainingRequest, padded_vocabulary, requested_run
from tasks.run_settings import WrongSetting
from tasks.settings import problems_of, replace_at
from tasks.token_artifact import TOKENS_VERSION
from tasks.tokenizer import TokenizerConfig, fit_tokenizer
from tasks.tokens import TokensConfig
from tests.tasks.tokens_by_hand import tokens_by_hand

PYTHIA = {"preset": "tiny-pythia"}
DOCUMENT = 100_000  # tokens


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that are not alike."""
    made = []
    for text in ("the mill stands by the lake", "a race of grey horses"):
        folder = tmp_path_factory.mktemp("tokenizer")
        table = pa.table({"text": [text * 20]})
        made += fit_tokenizer(iter([table]), TokenizerConfig(vocabulary_size=300), folder).values()
    return made


def write(lake: Lake, folder: Path, tokenizer: Path, key: str = "a" * 64, **values: Any) -> Manifest:
    """The tokens of thirty documents of two sources."""
    folder.mkdir(parents=True)
    config = TokensConfig.model_validate({"mixture": {"crawl": 0.75, "books": 0.25}, **values})
    values = np.arange(15 * (DOCUMENT - 1), dtype=np.int32) % 256
    ids = pa.ListArray.from_arrays(np.arange(16, dtype=np.int32) * (DOCUMENT - 1), values)

    def documents() -> Iterator[pa.Table]:
        for source in ("crawl", "books"):
            yield pa.table(
                {
                    "id": [f"{source}/{number}" for number in range(15)],
                    "url": pa.nulls(15, pa.string()),
                    "source": [source] * 15,
                    "cluster": pa.nulls(15, pa.string()),
                    "encode.ids": ids,
                }
            )

    files = tokens_by_hand(documents(), config, folder, tokenizer)
    parts = [
        store_part(lake, path, name=name, rows=-1, content=sha256_file(path), suffix=path.suffix)
        for name, path in files.items()
    ]
    manifest = Manifest(
        stage="tokens",
        version=TOKENS_VERSION,
        key=key,
        digest=artifact_digest(parts),
        libraries={},
        config={},
        models={"tokenizer.json": sha256_file(tokenizer)},
        inputs={},
        parts=parts,
        account=Account(rows_in=30, kept=30),
        details={},
        cost={},
        created="2026-11-21T00:00:00Z",
    )
    write_manifest(lake, manifest)
    return manifest


@pytest.fixture
def tokens(lake: Lake, tmp_path: Path, tokenizers: list[Path]) -> Manifest:
    return write(lake, tmp_path / "tokens", tokenizers[0], validation=0.4)


def request(settings: dict[str, Any] | None = None, **values: Any) -> TrainingRequest:
    """A request whose settings are written with dotted keys."""
    for key, value in (settings or {}).items():
        replace_at(values, key.split("."), value)
    return TrainingRequest.model_validate(values)


def made(lake: Lake, tokens: Manifest, fork: bool = False, **values: Any) -> RunConfig:
    """The run that a request makes."""
    config = requested_run(lake, tokens, request(**values), fork)
    create_run(lake, config)
    return config


def checkpoint(lake: Lake, config: RunConfig, step: int, pruned: bool = False) -> Checkpoint:
    found = Checkpoint(config.key, step, "", {"next_sequence": 40 * step}, (), pruned=pruned)
    commit(lake, found)
    return found


def test_a_preset_on_a_corpus(lake: Lake, tokens: Manifest) -> None:
    config = made(lake, tokens, **PYTHIA, epochs=3, label="first")
    summary = json.loads(lake.read(next(part.path for part in tokens.parts if part.name == "summary.json")))
    assert (config.model.vocabulary, summary["vocabulary"]) == (384, 278), "padded to a multiple of 128"
    assert [(source.name, source.weight, source.epochs) for source in config.sources] == [
        ("books", 0.25, 3),
        ("crawl", 0.75, 3),
    ]
    assert (config.seed, config.label, config.origin) == (1234, "first", None)
    assert config.end_of_document == summary["end_of_text"]
    assert config.validation_sources == (), "nothing of them decides the result"
    assert made(lake, tokens, **PYTHIA, epochs=3, label="first").key == config.key


def test_a_section_that_is_null_is_opened_by_its_first_key(lake: Lake, tokens: Manifest) -> None:
    settings = {"training.validation.every": 10, "training.validation.sequences": 2, "training.spikes.window": 32}
    config = made(lake, tokens, **PYTHIA, settings=settings)
    assert config.training.validation is not None and config.training.spikes is not None
    assert (config.training.validation.every, config.training.spikes.window) == (10, 32)
    assert [source.name for source in config.validation_sources] == ["books", "crawl"]
    parts = {part.name: part.sha256 for part in tokens.parts}
    assert [source.files[0].bin.sha256 for source in config.validation_sources] == [
        parts["books-00000.validation.bin"],
        parts["crawl-00000.validation.bin"],
    ]


@pytest.mark.parametrize(
    ("preset_name", "tokens", "padded"),
    [
        # The published ones: Pythia's and GPT-NeoX-20B's depend on the tensor ranks that they were trained with.
        ("pythia-160m", 50_277, 50_304),
        ("pythia-6.9b", 50_277, 50_432),
        ("pythia-12b", 50_277, 50_688),
        ("neox-20b", 50_277, 50_432),
        ("opt-125m", 50_265, 50_272),
        ("llama-7b", 32_000, 32_000),
        # Others.
        ("pythia-12b", 50_000, 50_048),
        ("opt-125m", 50_257, 50_264),
        ("llama-7b", 31_999, 31_999),
        ("tiny-llama", 32_000, 32_000),
        ("tiny-pythia", 278, 384),
    ],
)
def test_a_vocabulary_is_padded_as_its_system_pads(preset_name: str, tokens: int, padded: int) -> None:
    assert padded_vocabulary(preset(preset_name)["model"], tokens) == padded


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.validation.every": 3}, "training.validation: the field 'sequences' is missing"),
        ({"model.vocabulary": 256}, "model.vocabulary is 256, but the tokenizer of this corpus has 278 tokens"),
        ({"training.precision": "fp16"}, "fp16 needs a scaler"),
        (
            {"model.feed_forward_multiple": 32},
            "model (pythia): there is no field 'feed_forward_multiple'",
        ),
        ({"training.steps": 10**6}, "the run reads 16,000,000 sequences and its sources give"),
        ({"training.sequence_length": 2048, "model.positions": 2048, "training.batch": 10**4}, "lower steps or batch"),
        ({"training.compat": "neox", "training.steps": 10**6}, "GPT-NeoX's order takes 858 passes for 4020000 samples"),
        ({"training.compat": "neox", "training.split": [995, 4, 1]}, "needs exactly one source, and the run has 2"),
        ({"training.compat": "rows"}, "training.compat rows reads one source, and the run has books, crawl"),
        (
            {"training.validation.every": 10, "training.validation.sequences": 10**6},
            "training.validation.sequences is 1000000 and the validation tokens give",
        ),
    ],
)
def test_settings_that_cannot_be(lake: Lake, tokens: Manifest, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongSetting) as raised:
        made(lake, tokens, **PYTHIA, settings=settings)
    assert message in str(raised.value)
    assert not list(lake.list("runs"))


@pytest.mark.parametrize(
    ("settings", "place", "message"),
    [
        ({"training.stepz": 3}, "training", "there is no stepz; there are batch, "),
        ({"data.steps": 3}, "data", "Extra inputs are not permitted"),
        ({"settings": {"training.steps": 3}}, "", "write sections, such as `training: {steps: 100"),
        ({"training.steps": {"now": 3}}, "training.steps", "should be a valid integer"),
        ({"training.spikes.windows": 3}, "training.spikes", "there is no windows; there are deviations, "),
        ({"training.steps": "many"}, "training.steps", "should be a valid integer"),
        ({"training.steps": True}, "training.steps", "should be a valid integer"),
        ({"training.steps": 0}, "training.steps", "greater than or equal to 1"),
        ({"training.spikes.window": 3}, "training.spikes.window", "greater than or equal to 4"),
        ({"training.schedule.learning_rate": math.inf}, "training.schedule.learning_rate", "finite number"),
        ({"training.optimizer.weight_decay": math.nan}, "training.optimizer.weight_decay", "finite number"),
        ({"training": 3}, "training", "expected a section with batch, checkpoints, "),
        ({"model": 5}, "model", "expected a section with "),
        ({"model": {"architecture": "llama"}}, "model", "there is no architecture; there are "),
        ({"training.compat": "native"}, "training.compat", "Input should be 'neox', 'rows'"),
    ],
)
def test_settings_of_no_run(settings: dict[str, Any], place: str, message: str) -> None:
    """What is wrong whatever the preset and the tokens, refused with its place before there is a run."""
    with pytest.raises(pydantic.ValidationError) as raised:
        request(settings, **PYTHIA)
    assert any(
        line.startswith(f"{place or 'config'}: ") and message in line for line in problems_of(raised.value, "config")
    )


def test_null_is_a_value_only_where_there_may_be_none() -> None:
    """A form sends it for an empty field."""
    empty = {"training.steps": None, "training.spikes": None}
    given = request({**empty, "model.layers": 2, "training.optimizer.betas": [0, 1e-3]}, **PYTHIA)
    assert given.training.values() == {"optimizer": {"betas": [0.0, 0.001]}, "spikes": None}
    assert given.model.values() == {"layers": 2}


def test_seeds_of_gpt_neox_are_numpy_s(lake: Lake, tokens: Manifest) -> None:
    neox = {"training.compat": "neox"}
    assert made(lake, tokens, **PYTHIA, settings=neox, epochs=9, seed=2**32 - 1).training.compat == "neox"
    with pytest.raises(WrongSetting, match=r"seed is 4294967296; with training.compat neox"):
        made(lake, tokens, **PYTHIA, settings=neox, epochs=9, seed=2**32)


@pytest.mark.parametrize("compat", [None, "neox"])
def test_what_is_asked_before_a_run_is_what_its_order_says(
    lake: Lake, tokens: Manifest, tmp_path: Path, compat: str | None
) -> None:
    """The longest run that is not refused can be opened, and the first that is refused can not."""

    def ask(steps: int) -> RunConfig:
        settings = {"training.steps": steps, "training.batch": 1, "training.compat": compat}
        return requested_run(lake, tokens, request(settings, **PYTHIA))

    good, bad = 300, 10**6
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            ask(middle)
            good = middle
        except WrongSetting:
            bad = middle
    assert open_order(lake, ask(good), tmp_path / "cache").sequences >= good
    longest = ask(good)
    with pytest.raises(ValueError, match="allow more epochs"):
        open_order(lake, replace(longest, training=replace(longest.training, steps=bad)), tmp_path / "cache")


def test_validation_needs_a_corpus_with_a_share_for_it(lake: Lake, tmp_path: Path, tokenizers: list[Path]) -> None:
    tokens = write(lake, tmp_path / "whole", tokenizers[0])
    settings = {"training.validation.every": 10, "training.validation.sequences": 2}
    with pytest.raises(WrongSetting, match=r"build the corpus with `tokens.validation` above 0"):
        made(lake, tokens, **PYTHIA, settings=settings)


def test_a_run_that_begins_with_a_checkpoint(
    lake: Lake, tokens: Manifest, tmp_path: Path, tokenizers: list[Path]
) -> None:
    """It has that run's model, training, seed and epochs, but for what is set; its corpus may be another."""
    settings = {"training.schedule.learning_rate": 0.002, "model.layers": 2}
    first = made(lake, tokens, **PYTHIA, settings=settings, seed=5, epochs=2)
    held = [checkpoint(lake, first, step) for step in (0, 50, 100)]
    origin = find_origin(lake, first.key[:8])
    assert origin == f"{first.key}@100"
    other = write(lake, tmp_path / "other", tokenizers[0], key="b" * 64, mixture={"crawl": 0.5, "books": 0.5})
    config = made(lake, other, origin=origin, settings={"training.steps": 300, "training.schedule.decay": 300})
    assert config.origin is not None
    assert (config.origin.run, config.origin.step, config.origin.digest) == (first.key, 100, held[2].digest)
    assert config.origin.next_sequence == 0, "its data is another"
    assert config.model == first.model
    assert (config.seed, [source.epochs for source in config.sources]) == (5, [2, 2])
    assert (config.training.steps, config.training.schedule.learning_rate) == (300, 0.002)
    assert {source.weight for source in config.sources} == {0.5}
    beside = made(lake, tokens, **PYTHIA, origin=f"{first.key[:8]}@50")
    assert beside.origin is not None and (beside.origin.step, beside.seed) == (50, 5)
    assert beside.origin.next_sequence == 40 * 50, "where the other stood in the same data"
    anew = made(lake, tokens, **PYTHIA, origin=f"{first.key[:8]}@50", seed=6)
    assert anew.origin is not None and anew.origin.next_sequence == 0, "another seed is another order"


def test_what_the_other_run_was_changed_to_is_taken_over(lake: Lake, tokens: Manifest) -> None:
    """Unless the same is set; its skips only in the very same sequences."""
    first = made(lake, tokens, **PYTHIA, epochs=99)
    checkpoint(lake, first, 50)
    course = first.course()
    for event in (
        Change(10, "the norm rises", "ann", learning_rate_factor=0.5, clip=0.3),
        Lower(20, "high", 0.5),
        SkipData(30, "a bad dump", "ann", 2100, 2200),
        Change(60, "too late", "ann", clip=0.1),
    ):
        course = record(lake, first.key, "launch", course, event)
    origin = f"{first.key}@50"
    left_out = ((2100, 2200),)

    def taken_over(**values: Any) -> tuple[Inherited | None, str]:
        config = made(lake, tokens, origin=origin, **values)
        assert config.origin is not None
        return config.origin.inherited, describe_origin(config.origin.to_plain())

    name = f"started from {first.key[:12]}@50"
    assert taken_over(label="a") == (
        Inherited(None, 0.25, 0.3, left_out),
        f"{name} and continues its data at sequence 2,000; changes made there still apply: "
        "learning rate times 0.25, clip 0.3",
    )
    rate, clip = {"training.schedule.learning_rate": 0.001}, {"training.optimizer.clip": 0.5}
    assert taken_over(settings=rate)[0] == Inherited(clip=0.3, left_out=left_out)
    assert taken_over(settings=clip)[0] == Inherited(factor=0.25, left_out=left_out)
    assert taken_over(settings=rate | clip, seed=6) == (
        None,
        f"{name} and reads other data, or another order, from the first sequence",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "tiny-llama"}, "the preset tiny-llama is a llama model"),
        ({"settings": {"model.layers": 5}}, "--set model.layers: a run that starts from a checkpoint keeps its model"),
        ({"settings": {"training.steps": 100}}, "it must be above 100, the step of the checkpoint"),
    ],
)
def test_what_a_checkpoint_does_not_go_on_with(
    lake: Lake, tokens: Manifest, values: dict[str, Any], message: str
) -> None:
    first = made(lake, tokens, **PYTHIA)
    checkpoint(lake, first, 100)
    with pytest.raises(WrongSetting, match=message):
        made(lake, tokens, origin=f"{first.key}@100", **values)


def test_other_tokenizers_are_refused(lake: Lake, tokens: Manifest, tmp_path: Path, tokenizers: list[Path]) -> None:
    first = made(lake, tokens, **PYTHIA)
    checkpoint(lake, first, 100)
    other = write(lake, tmp_path / "other", tokenizers[1], key="b" * 64)
    with pytest.raises(WrongSetting, match="different tokenizers"):
        made(lake, other, origin=f"{first.key}@100")


def test_checkpoints_that_training_cannot_begin_with(lake: Lake, tokens: Manifest) -> None:
    first = made(lake, tokens, **PYTHIA)
    with pytest.raises(WrongSetting, match="has no checkpoint with its full state"):
        find_origin(lake, first.key)
    checkpoint(lake, first, 50)
    checkpoint(lake, first, 100, pruned=True)
    assert find_origin(lake, first.key[:6]) == f"{first.key}@50"
    with pytest.raises(WrongSetting, match=r"has only weights; the run .* has its full state at steps \[50\]"):
        find_origin(lake, f"{first.key[:6]}@100")
    with pytest.raises(WrongSetting, match=r"has no checkpoint at 7; it has \[50, 100\]"):
        find_origin(lake, f"{first.key[:6]}@7")
    for name in ("@7", "", f"{first.key}@newest"):
        with pytest.raises(WrongSetting, match="write RUN or RUN@STEP"):
            find_origin(lake, name)
    with pytest.raises(StoreError, match="0 runs of"):
        find_origin(lake, "beef")


def test_the_newest_checkpoint_is_one_that_is_whole(lake: Lake, tokens: Manifest) -> None:
    """The one before it, when a file is cut short or a manifest cannot be read; and people are told."""
    first = made(lake, tokens, **PYTHIA)
    for step in (50, 100, 150):
        cut_short = StoredFile(0, "state", sha256=f"{step:064}", bytes=9, slices=())
        held = Checkpoint(first.key, step, "", {"next_sequence": 0}, (cut_short,) if step == 100 else ())
        lake.write(f"{held.folder}/{cut_short.object}", b"short")
        commit(lake, held)
    lake.write(f"{checkpoint_folder(first.key, 150)}/{MANIFEST}", b"{}")
    told: list[str] = []
    assert find_origin(lake, first.key[:6], told.append) == f"{first.key}@50"
    assert [line.partition(":")[0] for line in told] == [
        f"skipped {first.key[:12]}@150",
        f"skipped {first.key[:12]}@100",
    ]
    assert "the file is changed or truncated" in told[1]


def test_a_fork_has_a_label_of_its_own(lake: Lake, tokens: Manifest) -> None:
    first = made(lake, tokens, **PYTHIA)
    fork = made(lake, tokens, fork=True, **PYTHIA, label="again")
    assert fork.key != first.key and fork.label == "again"
    assert made(lake, tokens, fork=True, **PYTHIA, label="again") == fork, "the same command goes on"
    checkpoint(lake, fork, 0)
    assert made(lake, tokens, fork=True, **PYTHIA, label="again") == fork
    with pytest.raises(WrongSetting, match=f"--new again: the run {fork.key[:12]} has that label"):
        made(lake, tokens, fork=True, **PYTHIA, label="again", seed=6)


def test_a_run_that_came_to_nothing_keeps_no_label(lake: Lake, tokens: Manifest) -> None:
    """One that failed before its first checkpoint is not in the way of the corrected command."""
    failed = made(lake, tokens, fork=True, **PYTHIA, label="big")
    assert made(lake, tokens, fork=True, **PYTHIA, label="big", seed=6).key != failed.key


def test_a_request_begins_somewhere() -> None:
    with pytest.raises(pydantic.ValidationError, match="give a preset, or the checkpoint of a run to start from"):
        TrainingRequest()
