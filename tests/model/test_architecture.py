"""Golden counts, initialisation, and logits and gradients against transformers' own classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from model.architecture import build, build_empty, model_config, plain_model_config
from model.layers import next_token_loss
from model.presets import preset, preset_names
from tests.model.small import SHAPES


@pytest.mark.parametrize("name", preset_names())
def test_parameter_count(name: str) -> None:
    config = model_config(preset(name)["model"])
    model = build_empty(config, "meta")
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == config.parameters == preset(name)["parameters"]


def test_published_counts() -> None:
    published = {"pythia-14m": 14_067_712, "pythia-70m": 70_426_624, "llama-7b": 6_738_415_616}
    assert {name: preset(name)["parameters"] for name in published} == published
    assert model_config(preset("llama-7b")["model"]).feed_forward == 11_008  # type: ignore[union-attr]
    assert model_config(preset("pythia-70m")["model"]).rotary_dimensions == 16  # type: ignore[union-attr]


def test_pythia_70m_starts_as_published() -> None:
    """σ of small_init and wang_init as in the Pythia table: 0.027951 and 0.014731."""
    from model.architecture import ARCHITECTURES

    config = model_config(preset("pythia-70m")["model"])
    generator = torch.Generator().manual_seed(0)
    sigmas = {}
    for name in ("embed_in.weight", "layers.0.attention.dense.weight", "layers.0.mlp.dense_4h_to_h.weight"):
        sample = torch.empty(1_000_000)
        ARCHITECTURES["pythia"].initial(name, config)(sample, generator)
        sigmas[name] = sample.std().item()
    assert list(sigmas.values()) == pytest.approx([0.027951, 0.014731, 0.014731], rel=5e-3)


@pytest.mark.parametrize("architecture", SHAPES)
def test_initial_weights_depend_on_seed_and_name_alone(architecture: str) -> None:
    shape = SHAPES[architecture]
    shallow, deep = (build(model_config(shape | {"layers": layers}), 5).state_dict() for layers in (2, 4))
    # LLaMA's and Pythia's way back into the residual stream is scaled by the depth; nothing else is.
    scaled = ("attention.dense.weight", "dense_4h_to_h.weight", "o_proj.weight", "down_proj.weight")
    same = [name for name in shallow if not name.endswith(scaled)]
    assert all(torch.equal(shallow[name], deep[name]) for name in same)
    torch.manual_seed(99)
    again, other = build(model_config(shape), 5).state_dict(), build(model_config(shape), 6).state_dict()
    assert all(torch.equal(shallow[name], again[name]) for name in shallow)
    assert not any(torch.equal(again[name], other[name]) for name in again if again[name].std() > 0)


def reference_model(architecture: str) -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    shape = SHAPES[architecture]
    common = {
        "vocab_size": shape["vocabulary"],
        "hidden_size": shape["width"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "max_position_embeddings": shape["positions"],
        "tie_word_embeddings": False,
    }
    if architecture == "pythia":
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25}
        config = GPTNeoXConfig(
            **common,
            intermediate_size=4 * 32,
            hidden_act="gelu_new",
            rope_parameters=rope,
            use_parallel_residual=True,
            layer_norm_eps=1e-5,
        )
        return GPTNeoXForCausalLM(config)
    return LlamaForCausalLM(LlamaConfig(**common, intermediate_size=88, rms_norm_eps=1e-6))


def name_there(name: str, architecture: str) -> str:
    """Our parameter's name in transformers."""
    if name in ("embed_out.weight", "lm_head.weight"):
        return "lm_head.weight"
    return {"pythia": "gpt_neox.", "llama": "model."}[architecture] + name


@pytest.mark.parametrize("architecture", SHAPES)
def test_logits_and_gradients_equal_transformers(architecture: str) -> None:
    ours, theirs = build(model_config(SHAPES[architecture]), 3), reference_model(architecture)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in ours.parameters():
            # Large and different everywhere, biases and norms too, so that no term is hidden by zeros and ones.
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.25)
        held = dict(theirs.named_parameters())
        assert len(held) == len(list(ours.parameters()))
        for name, parameter in ours.named_parameters():
            held[name_there(name, architecture)].copy_(parameter)
    tokens = torch.randint(0, SHAPES[architecture]["vocabulary"], (3, 33), generator=generator)
    logits, reference = ours(tokens[:, :-1]), theirs(tokens[:, :-1]).logits
    assert reference.std() >= 1, "with small logits every model agrees"
    assert largest_difference(logits, reference) <= 1e-5
    next_token_loss(logits, tokens).backward()
    nn.functional.cross_entropy(reference.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert largest_difference(parameter.grad, held[name_there(name, architecture)].grad) <= 1e-5, name


def test_pythia_needs_gelu_in_its_tanh_form() -> None:
    """The comparison above can tell the two forms of GELU apart."""
    ours, theirs = build(model_config(SHAPES["pythia"]), 3), reference_model("pythia")
    from transformers.activations import ACT2FN

    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.25)
        held = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            held[name_there(name, "pythia")].copy_(parameter)
    for layer in theirs.gpt_neox.layers:  # type: ignore[union-attr,operator]
        layer.mlp.act = ACT2FN["gelu"]  # type: ignore[union-attr,assignment]
    tokens = torch.arange(32)[None]
    assert largest_difference(ours(tokens), theirs(tokens).logits) > 1e-5


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def test_untrained_loss_is_that_of_a_guess() -> None:
    model = build(model_config(SHAPES["llama"]), 0)
    tokens = torch.randint(0, 257, (8, 33), generator=torch.Generator().manual_seed(0))
    assert next_token_loss(model(tokens[:, :-1]), tokens).item() == pytest.approx(math.log(257), abs=0.05)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architecture": "opt"}, "must be one of pythia, llama"),
        ({**SHAPES["pythia"], "hidden": 3}, "no field 'hidden'"),
        ({**SHAPES["pythia"], "heads": 5}, "not a multiple"),
        ({**SHAPES["pythia"], "layers": "2"}, "layers is '2'; it must be int"),
        ({**SHAPES["pythia"], "layers": 0}, "at least 1"),
        ({**SHAPES["pythia"], "rotary_fraction": 0.4}, "even number"),
        ({**SHAPES["llama"], "width": 36}, "even number"),
        ({"architecture": "llama", "layers": 2}, "'vocabulary' is missing"),
    ],
)
def test_bad_shapes_are_refused(values: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        model_config(values)


def test_configuration_survives_a_round_trip() -> None:
    for shape in SHAPES.values():
        config = model_config(shape)
        assert model_config(plain_model_config(config)) == config


def test_a_sequence_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the model's 32"):
        build(model_config(SHAPES["llama"]), 0)(torch.zeros(1, 33, dtype=torch.int64))
