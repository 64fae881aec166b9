"""Weights through the folders of transformers: loaded by its own classes, and back to the same bits."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, OPTForCausalLM

from model.architectures.layers import Rotary
from model.architectures.registry import model_config
from model.huggingface.configuration import config_here, config_there
from model.huggingface.folder import read_folder, write_folder
from model.huggingface.plain import read_plain, write_plain
from model.huggingface.weights import SpecialTokens, Weights, WeightsError, crop_vocabulary, finished_folder
from model.presets import preset, preset_names
from tests.model.support.reference import largest_difference, random_model, reference_model
from tests.model.support.rotation_pairs import halves_from_pairs, pairs_from_halves
from tests.model.support.small import SHAPES
from tests.model.support.weights import weights_of

TOKENS = torch.randint(2, 257, (2, 32), generator=torch.Generator().manual_seed(3))
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("pythia", {}),
    ("pythia", {"gelu": "erf", "rotary_fraction": 0.5, "rotary_base": 500.0, "norm_epsilon": 1e-3}),
    ("opt", {}),
    ("opt-post", {}),
    ("llama", {}),
    ("llama", {"feed_forward_multiple": 256, "rotary_base": 500.0, "norm_epsilon": 1e-3}),
]


def same(ours: Weights, other: Weights) -> bool:
    """The same shape, and the same bits in the same dtypes."""
    return ours.config == other.config and all(
        ours.tensors[name].dtype == other.tensors[name].dtype and torch.equal(ours.tensors[name], other.tensors[name])
        for name in ours.tensors
    )


@pytest.mark.parametrize(("architecture", "changes"), FORMS)
def test_transformers_loads_what_is_written(architecture: str, changes: dict[str, Any], tmp_path: Path) -> None:
    ours = random_model(architecture, **changes).eval()
    write_folder(weights_of(ours), tmp_path)
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), "every tensor has its place, and every place its tensor"
    logits = theirs(TOKENS).logits
    assert logits.std() >= 1
    assert largest_difference(ours(TOKENS), logits) <= 1e-5
    assert theirs.config.eos_token_id is None, "not the id of another tokenizer"


@pytest.mark.parametrize(("architecture", "changes"), FORMS)
def test_what_transformers_saves_is_read(architecture: str, changes: dict[str, Any], tmp_path: Path) -> None:
    config = model_config(SHAPES[architecture] | changes)
    theirs = reference_model(config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.25)
    theirs.save_pretrained(tmp_path)
    read = read_folder(tmp_path)
    logits = theirs.eval()(TOKENS).logits
    assert logits.std() >= 1
    assert largest_difference(read.model()(TOKENS), logits) <= 1e-5
    # Its default of 0.1 for attention dropout, and OPT's ids, come with it.
    assert read.special_tokens == SpecialTokens(padding=theirs.config.pad_token_id)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("architecture", "changes"), FORMS)
def test_there_and_back_is_the_same_to_the_bit(
    architecture: str, changes: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    """Our weights, their folder, a folder of our own, and their folder again."""
    model = random_model(architecture, **changes).to(dtype)
    first = weights_of(model, SpecialTokens(begin=0, end=0))
    folders = [tmp_path / name for name in ("there", "plain", "again")]
    for folder in folders:
        folder.mkdir()
    write_folder(first, folders[0])
    there = read_folder(folders[0])
    assert there.special_tokens == first.special_tokens
    # How LLaMA's width was rounded up is not in the file; the width is.
    assert config_there(there.config, SpecialTokens(), "") == config_there(first.config, SpecialTokens(), "")
    write_plain(there, folders[1])
    assert same(read_plain(folders[1]), there)
    write_folder(read_plain(folders[1]), folders[2])
    before, after = (load_file(folder / "model.safetensors") for folder in (folders[0], folders[2]))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == dtype for name in before)
    assert json.loads((folders[0] / "config.json").read_text()) == json.loads((folders[2] / "config.json").read_text())
    assert [torch.equal(there.tensors[name], value) for name, value in first.tensors.items()].count(False) == 0


@pytest.mark.parametrize("architecture", ["pythia", "opt"])
def test_several_files_with_an_index(architecture: str, tmp_path: Path) -> None:
    ours = random_model(architecture).eval()
    write_folder(weights_of(ours), tmp_path, largest=40_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert all(sum(value.nbytes for value in load_file(tmp_path / name).values()) <= 40_000 for name in files)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert largest_difference(ours(TOKENS), theirs(TOKENS).logits) <= 1e-5
    assert same(read_folder(tmp_path), weights_of(ours))


def test_a_padded_vocabulary_is_cropped(tmp_path: Path) -> None:
    for architecture in SHAPES:
        ours = random_model(architecture, vocabulary=384).eval()
        folder = tmp_path / architecture
        folder.mkdir()
        write_folder(crop_vocabulary(weights_of(ours), 257), folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder)
        logits = theirs(TOKENS).logits
        assert logits.shape[-1] == theirs.config.vocab_size == 257
        assert largest_difference(ours(TOKENS)[..., :257], logits) <= 1e-5
    with pytest.raises(WeightsError, match="must be 1 to 384"):
        crop_vocabulary(weights_of(ours), 385)


@pytest.mark.parametrize("name", preset_names())
def test_the_config_of_every_preset_is_read_back(name: str) -> None:
    config = model_config(preset(name)["model"])
    values = config_there(config, SpecialTokens(begin=0, end=0, padding=None), "float16")
    found, special_tokens = config_here(values)
    assert special_tokens == SpecialTokens(begin=0, end=0, padding=None)
    assert found.parameters == config.parameters
    assert config_there(found, special_tokens, "float16") == values
    theirs = AutoConfig.for_model(**values)
    assert theirs.vocab_size == config.vocabulary
    if config.__class__.__name__ == "PythiaConfig":
        assert theirs.hidden_act == "gelu_fast", "not the default, which is the other form"


def test_published_config_files_are_read() -> None:
    """The fields that decide the shape, as the published files of these models have them."""
    pythia = {
        **{"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 512, "intermediate_size": 2048},
        **{"layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "num_attention_heads": 8, "num_hidden_layers": 6},
        **{"rotary_emb_base": 10000, "rotary_pct": 0.25, "use_parallel_residual": True, "vocab_size": 50304},
        **{"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False},
    }
    config, special_tokens = config_here(pythia)
    assert config.parameters == 70_426_624
    assert config.gelu == "erf"  # type: ignore[union-attr]  # what `transformers` computes, whatever it trained with
    assert special_tokens == SpecialTokens(0, 0, None)
    opt = {
        **{"model_type": "opt", "activation_function": "relu", "do_layer_norm_before": False, "ffn_dim": 4096},
        **{"hidden_size": 1024, "max_position_embeddings": 2048, "num_attention_heads": 16, "num_hidden_layers": 24},
        **{"vocab_size": 50272, "word_embed_proj_dim": 512, "dropout": 0.1, "attention_dropout": 0.0},
        **{"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1},
    }
    config, special_tokens = config_here(opt)
    assert config.parameters == 331_196_416
    assert special_tokens == SpecialTokens(2, 2, 1)
    llama = {
        **{"model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008},
        **{"max_position_embeddings": 2048, "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 32000},
        **{"rms_norm_eps": 1e-06, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": -1},
    }
    config, special_tokens = config_here(llama)
    assert config.parameters == 6_738_415_616
    assert special_tokens == SpecialTokens(1, 2, None)


def rotated_in_pairs(x: Tensor) -> Tensor:
    """As in LLaMA's released `model.py`: neighbours as complex numbers, (B, H, S, D)."""
    length, dimensions = x.shape[-2:]
    exponents = torch.arange(0, dimensions, 2).float() / dimensions
    angles = torch.outer(torch.arange(length).float(), 10_000.0**-exponents)
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(-2)


def test_the_released_rotation_becomes_ours() -> None:
    """Scores of pairwise rotation with released weights are those of half rotation with weights whose rows moved."""
    generator = torch.Generator().manual_seed(0)
    heads, dimensions, width = 4, 8, 32
    x = torch.randn(1, 16, width, generator=generator)
    query, key = (torch.randn(width, width, generator=generator) for _ in range(2))
    rotary = Rotary(dimensions, 16, 10_000.0)

    def scores(turn: Any, query: Tensor, key: Tensor) -> Tensor:
        q, k = (turn((x @ weight.T).view(1, 16, heads, dimensions).transpose(1, 2)) for weight in (query, key))
        return q @ k.transpose(-1, -2)

    expected = scores(rotated_in_pairs, query, key)
    moved = [halves_from_pairs(weight, heads) for weight in (query, key)]
    assert largest_difference(scores(rotary, *moved), expected) <= 1e-5
    assert largest_difference(scores(rotary, query, key), expected) > 1e-2
    # The formula of transformers' converter, and the way back.
    formula = query.view(heads, dimensions // 2, 2, width).transpose(1, 2).reshape(width, width)
    assert torch.equal(moved[0], formula)
    assert torch.equal(pairs_from_halves(moved[0], heads), query)


def test_tensors_that_are_no_weights_are_left_out(tmp_path: Path) -> None:
    """Published files hold causal masks, rotary frequencies, and a copy of OPT's table; the last must be a copy."""
    pythia, opt = tmp_path / "pythia", tmp_path / "opt"
    for folder, architecture in ((pythia, "pythia"), (opt, "opt")):
        folder.mkdir()
        write_folder(weights_of(random_model(architecture)), folder)
    file = pythia / "model.safetensors"
    more = {
        "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 32, 32),
        "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
        "gpt_neox.layers.1.attention.rotary_emb.inv_freq": torch.ones(1),
    }
    tensors = load_file(file)
    # The name that the classes of transformers 5 have for it.
    tensors["lm_head.weight"] = tensors.pop("embed_out.weight")
    save_file(tensors | more, file)
    assert same(read_folder(pythia), weights_of(random_model("pythia")))
    file = opt / "model.safetensors"
    tensors = load_file(file)
    table = tensors["model.decoder.embed_tokens.weight"]
    save_file(tensors | {"lm_head.weight": table.clone()}, file)
    assert same(read_folder(opt), weights_of(random_model("opt")))
    save_file(tensors | {"lm_head.weight": table + 1}, file)
    with pytest.raises(WeightsError, match=r"differs from .*, to which it is tied"):
        read_folder(opt)


@pytest.mark.parametrize("architecture", ["opt", "opt-post"])
def test_opt_as_it_was_published_is_read(architecture: str, tmp_path: Path) -> None:
    """Names without ``model.``, from a model without its output layer; or the tied table under one name alone."""
    write_folder(weights_of(random_model(architecture)), tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, file)
    assert same(read_folder(tmp_path), weights_of(random_model(architecture)))
    save_file(bare | {"lm_head.weight": bare["decoder.embed_tokens.weight"].clone()}, file)
    assert same(read_folder(tmp_path), weights_of(random_model(architecture)))
    tensors["lm_head.weight"] = tensors.pop("model.decoder.embed_tokens.weight")
    save_file(tensors, file)
    assert same(read_folder(tmp_path), weights_of(random_model(architecture)))


def test_others_may_read_what_others_may_enter(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with finished_folder(tmp_path / "out") as folder:
            write_folder(weights_of(random_model("opt")), folder)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert modes == {"model.safetensors": 0o644, "config.json": 0o644}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


def test_a_folder_that_would_hold_up_a_reader_is_refused(tmp_path: Path) -> None:
    write_folder(weights_of(random_model("opt")), tmp_path)
    config = tmp_path / "config.json"
    whole = json.loads(config.read_text())
    config.write_text(json.dumps({**whole, "num_hidden_layers": 400_000}))
    with pytest.raises(WeightsError, match="num_hidden_layers is 400000; at most 1000 are read"):
        read_folder(tmp_path)
    config.write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="nested too deeply"):
        read_folder(tmp_path)
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(WeightsError, match="is not a file"):
        read_folder(tmp_path)
    config.unlink()
    config.write_text(json.dumps(whole))
    (tmp_path / "model.safetensors").unlink()
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="is not a file"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("pythia", {"model_type": "bert"}, "model_type is 'bert'; it must be one of gpt_neox, opt, llama"),
        ("pythia", {"use_parallel_residual": False}, "use_parallel_residual is False"),
        ("pythia", {"hidden_act": "relu"}, "hidden_act is 'relu'; it must be one of gelu"),
        ("pythia", {"intermediate_size": 100}, "intermediate_size is 100; only 128"),
        ("pythia", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "type 'linear'"),
        ("pythia", {"num_attention_heads": 5}, "not a multiple of heads 5"),
        ("pythia", {"num_hidden_layers": 3}, r"layers.2.attention.dense.bias is missing"),
        ("pythia", {"num_hidden_layers": 1}, r"layers.1.attention.dense.bias is not a parameter"),
        ("pythia", {"vocab_size": 300}, "embedding.tokens.weight has shape"),
        ("pythia", {"eos_token_id": [0, 2]}, "must be one id"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm is True"),
        ("opt", {"activation_function": "gelu"}, "activation_function is 'gelu'"),
        ("llama", {"num_key_value_heads": 2}, "num_key_value_heads is 2; only 4"),
        ("llama", {"tie_word_embeddings": True}, "tie_word_embeddings is True"),
        ("llama", {"intermediate_size": 64}, "LLaMA's is at least 85"),
        ("llama", {"hidden_size": "absent"}, "hidden_size is missing"),
        ("pythia", {"model_type": ["gpt_neox"]}, r"model_type is \['gpt_neox'\]"),
        *((name, {"num_attention_heads": 0}, "num_attention_heads is 0; it must be a whole") for name in SHAPES),
        ("llama", {"num_hidden_layers": "6"}, "num_hidden_layers is '6'; it must be a whole number"),
        ("opt", {"num_hidden_layers": True}, "num_hidden_layers is True; it must be a whole number"),
        ("llama", {"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; at most 1000 are read"),
        ("llama", {"hidden_size": None}, "hidden_size is None; it must be a whole number"),
        ("llama", {"intermediate_size": 85.0}, "intermediate_size is 85.0; it must be a whole number"),
        ("pythia", {"vocab_size": 10**30}, "vocab_size is 10*; it must be a whole number from 1 to 16,777,216"),
        ("opt", {"word_embed_proj_dim": [16]}, r"word_embed_proj_dim is \[16\]"),
        ("opt", {"do_layer_norm_before": "false"}, "do_layer_norm_before is 'false'; it must be true or false"),
        ("opt", {"dropout": None}, "dropout is None; it must be a number"),
        ("llama", {"rms_norm_eps": None}, "rms_norm_eps is None; it must be a number"),
        ("llama", {"rms_norm_eps": 0}, "rms_norm_eps is 0.0; it must be above 0"),
        ("llama", {"rms_norm_eps": math.nan}, "rms_norm_eps is nan; it must be a number"),
        ("pythia", {"layer_norm_eps": 10**400}, "it must be a number"),
        ("pythia", {"rope_parameters": [10_000]}, r"rope_parameters is \[10000\]; it must be an object or null"),
        ("llama", {"rope_scaling": "linear"}, "rope_scaling is 'linear'; it must be an object or null"),
        ("llama", {"rope_parameters": {"rope_theta": "10000"}}, "rope_theta is '10000'; it must be a number"),
        ("llama", {"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config: these weights"),
    ],
)
def test_another_model_is_refused(architecture: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_folder(weights_of(random_model(architecture)), tmp_path)
    path = tmp_path / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in values.items() if value != "absent"}))
    with pytest.raises(WeightsError, match=message) as refused:
        read_folder(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_a_folder_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config.json does not exist"):
        read_folder(tmp_path)
    write_folder(weights_of(random_model("opt")), tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        read_folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model.bin, a pickle"):
        read_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match="has neither"):
        read_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (lambda x: x.to(torch.int8), "has dtype int8; weights must be float64, float32, bfloat16, float16: save them"),
        (lambda x: x.to(torch.float8_e4m3fn), "has dtype float8_e4m3fn"),
        (lambda x: torch.full_like(x, math.nan), "holds infinite or NaN values; fetch it again"),
        (lambda x: x.half() * 1e9, "holds infinite or NaN values"),
    ],
)
def test_tensors_that_cannot_be_weights_are_refused(
    spoiled: Callable[[Tensor], Tensor], message: str, tmp_path: Path
) -> None:
    write_folder(weights_of(random_model("llama")), tmp_path)
    file, name = tmp_path / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    tensors = load_file(file)
    save_file(tensors | {name: spoiled(tensors[name])}, file)
    with pytest.raises(WeightsError, match=f"^{file}: {name} {message}"):
        read_folder(tmp_path)


def test_a_wrong_index_is_refused(tmp_path: Path) -> None:
    write_folder(weights_of(random_model("opt")), tmp_path, largest=40_000)
    index = tmp_path / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    names, files = list(values["weight_map"]), sorted(set(values["weight_map"].values()))
    other = next(file for file in files if file != values["weight_map"][names[0]])
    absent = {names[0]: "model-00009-of-00009.safetensors"}
    for wrong, message in (
        (values["weight_map"] | {names[0]: other}, f"^{index}: {names[0]} is not in {other}; the files are of two"),
        (values["weight_map"] | absent, "model-00009-of-00009.safetensors cannot be read as safetensors"),
        (files, f"^{index}: weight_map must be an object"),
        (values["weight_map"] | {names[0]: 1}, f"^{index}: weight_map must be an object"),
        (None, f"^{index}: weight_map must be an object"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(WeightsError, match=message):
            read_folder(tmp_path)
    index.unlink()
    index.mkdir()
    with pytest.raises(WeightsError, match=r"index.json cannot be read \(Is a directory\)"):
        read_folder(tmp_path)


def test_a_vocabulary_keeps_the_special_tokens() -> None:
    opt = weights_of(random_model("opt"))
    with pytest.raises(WeightsError, match=r"a vocabulary of 1 tokens: opt: .* has no padding, token 1; keep more"):
        crop_vocabulary(opt, 1)
    ended = replace(opt, special_tokens=SpecialTokens(end=50))
    with pytest.raises(WeightsError, match="a vocabulary of 50 tokens leaves out the special token 50; keep more"):
        crop_vocabulary(ended, 50)
    assert crop_vocabulary(ended, 51).config.vocabulary == 51


def test_an_index_names_files_of_its_own_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_folder(weights_of(random_model("opt")), folder, largest=40_000)
    index = folder / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"] = {name: f"../{file}" for name, file in values["weight_map"].items()}
    index.write_text(json.dumps(values))
    assert same(read_folder(folder), weights_of(random_model("opt")))


def test_a_plain_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    write_plain(weights_of(random_model("opt")), tmp_path)
    path = tmp_path / "model.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"format": 2}))
    with pytest.raises(WeightsError, match="format 2"):
        read_plain(tmp_path)
    for wrong in ([], {"architecture": ["opt"]}, {**SHAPES["opt"], "layers": "2"}):
        path.write_text(json.dumps(values | {"model_config": wrong}))
        with pytest.raises(WeightsError, match=r"model.json: model"):
            read_plain(tmp_path)
    path.write_text(json.dumps(values | {"special_tokens": [0]}))
    with pytest.raises(WeightsError, match=r"special_tokens is \[0\]"):
        read_plain(tmp_path)
    path.write_text(json.dumps(values | {"model_config": SHAPES["llama"]}))
    with pytest.raises(WeightsError, match=r"(is missing|not part of this model); import the weights again$"):
        read_plain(tmp_path)


def test_nothing_half_done_is_ever_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), finished_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("done")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with finished_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("done")
    assert (tmp_path / "out" / "whole").read_text() == "done"
    with pytest.raises(WeightsError, match="exists already"), finished_folder(tmp_path / "out"):
        pass


def test_both_forms_of_opt_are_kept_apart_by_their_class(tmp_path: Path) -> None:
    write_folder(weights_of(random_model("opt-post")), tmp_path)
    theirs = OPTForCausalLM.from_pretrained(tmp_path)
    assert theirs.model.decoder.final_layer_norm is None
    assert theirs.model.decoder.project_in.weight.shape == (32, 16)
