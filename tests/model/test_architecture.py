"""Golden counts, initialisation, and logits and gradients against transformers' own classes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from model.architectures.context import Context, KeyValueCache, number_documents, packed, positions_in_documents
from model.architectures.cross_entropy import cross_entropy
from model.architectures.layers import CausalAttention, Rotary
from model.architectures.registry import (
    ARCHITECTURES,
    architecture_name,
    build,
    build_empty,
    model_config,
    plain_model_config,
)
from model.presets import preset, preset_names
from tests.model.support.reference import copy_into, largest_difference, random_model, reference_model
from tests.model.support.small import END_OF_DOCUMENT, SHAPES, VOCABULARY


@pytest.mark.parametrize("name", preset_names())
def test_parameter_count(name: str) -> None:
    config = model_config(preset(name)["model"])
    model = build_empty(config, "meta")
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == config.parameters == preset(name)["parameters"]


@pytest.mark.parametrize(
    ("layers", "width", "heads", "more", "published"),
    [
        (12, 768, 12, {}, 125_239_296),
        (24, 1024, 16, {"norm_first": False, "embedding_width": 512}, 331_196_416),
        (96, 12288, 96, {}, 174_604_468_224),
    ],
)
def test_published_counts_of_opt(layers: int, width: int, heads: int, more: dict[str, Any], published: int) -> None:
    shape = {"vocabulary": 50_272, "positions": 2048, "layers": layers, "width": width, "heads": heads}
    config = model_config({"architecture": "opt", **shape, **more})
    assert config.parameters == published
    assert sum(parameter.numel() for parameter in build_empty(config, "meta").parameters()) == published


PYTHIA_70M = {
    "architecture": "pythia",
    "vocabulary": 50_304,
    "positions": 2048,
    "layers": 6,
    "width": 512,
    "heads": 8,
}


@pytest.mark.parametrize(
    ("shape", "name", "sigma"),
    [
        # small_init and wang_init as in the table of Pythia, then GPT-NeoX's defaults, which the 6.9B's file implies.
        (PYTHIA_70M, "embedding.tokens.weight", 0.027951),
        (PYTHIA_70M, "layers.0.attention.output.weight", 0.014731),
        (PYTHIA_70M, "layers.0.feed_forward.down.weight", 0.014731),
        ({**PYTHIA_70M, "initialisation": "normal"}, "layers.0.attention.query_key_value.weight", 0.02),
        ({**PYTHIA_70M, "initialisation": "normal"}, "layers.0.feed_forward.down.weight", 0.02 / math.sqrt(12)),
        ({**PYTHIA_70M, "architecture": "opt", "layers": 12}, "layers.0.attention.key.weight", 0.006),
        ({**PYTHIA_70M, "architecture": "opt", "layers": 12}, "embedding.tokens.weight", 0.006),
        ({**PYTHIA_70M, "architecture": "opt", "layers": 12}, "layers.0.attention.output.weight", 0.0012247),
        ({**PYTHIA_70M, "architecture": "opt", "layers": 12}, "layers.0.feed_forward.down.weight", 0.0012247),
    ],
)
def test_weights_start_as_published(shape: dict[str, Any], name: str, sigma: float) -> None:
    config = model_config(shape)
    sample = torch.empty(1000, 1000)
    ARCHITECTURES[architecture_name(config)].initial(name, config)(sample, torch.Generator().manual_seed(0))
    assert sample.std().item() == pytest.approx(sigma, rel=5e-3)


def test_the_padding_rows_of_opt_start_at_zero() -> None:
    weights = build(model_config(SHAPES["opt"]), 5).state_dict()
    for table in ("embedding.tokens.weight", "embedding.positions.weight"):
        assert weights[table].abs().sum(1).eq(0).nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize("architecture", SHAPES)
def test_initial_weights_depend_on_seed_and_name_alone(architecture: str) -> None:
    shape = SHAPES[architecture]
    shallow, deep = (build(model_config(shape | {"layers": layers}), 5).state_dict() for layers in (2, 4))
    # The way back into the residual stream is scaled by the depth; nothing else is.
    same = [name for name in shallow if not name.endswith(("attention.output.weight", "feed_forward.down.weight"))]
    assert all(torch.equal(shallow[name], deep[name]) for name in same)
    torch.manual_seed(99)
    again, other = build(model_config(shape), 5).state_dict(), build(model_config(shape), 6).state_dict()
    assert all(torch.equal(shallow[name], again[name]) for name in shallow)
    assert not any(torch.equal(again[name], other[name]) for name in again if again[name].std() > 0)


@pytest.mark.parametrize(("padded", "vocabulary"), [(VOCABULARY, VOCABULARY), (3 * 128, 257)])
@pytest.mark.parametrize("architecture", SHAPES)
def test_logits_and_gradients_equal_transformers(architecture: str, padded: int, vocabulary: int) -> None:
    """Where only our tables are padded, the words that both have are compared.

    In training the words of the padding take part in the softmax, as in GPT-NeoX; they are never a label, and become
    unlikely. Generation leaves them out.
    """
    ours = random_model(architecture, vocabulary=padded)
    theirs = reference_model(ours.config, vocabulary=vocabulary)
    held = copy_into(ours, theirs)
    # OPT's class cuts the gradient of the padding, token 1, as an input; packed sequences do not hold it.
    tokens = torch.randint(2, 257, (3, 33), generator=torch.Generator().manual_seed(11))
    logits, reference = ours(tokens[:, :-1])[..., :vocabulary], theirs(tokens[:, :-1]).logits
    assert reference.std() >= 1, "with small logits every model agrees"
    assert largest_difference(logits, reference) <= 1e-5
    cross_entropy(logits, tokens[:, 1:]).backward()
    nn.functional.cross_entropy(reference.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        gradient = parameter.grad
        if name in ("embedding.tokens.weight", "head.output.weight"):
            assert not gradient[vocabulary:].any(), "words that took no part"
            gradient = gradient[:vocabulary]
        if name.endswith("attention.key.bias"):
            # It adds the same to every score of a row, which a softmax does not see: its gradient is 0 but for
            # rounding, and is measured by that of the bias beside it.
            scale = ours.get_parameter(name.replace("key", "query")).grad.abs().max()  # type: ignore[union-attr]
            assert max(gradient.abs().max(), held[name].grad.abs().max()) <= 1e-5 * scale, name  # type: ignore[union-attr]
        else:
            assert largest_difference(gradient, held[name].grad) <= 1e-5, name


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_both_forms_of_gelu_and_only_the_right_one(form: str) -> None:
    ours = random_model("pythia", gelu=form)
    tokens = torch.arange(32)[None]
    for activation, same in (("gelu_fast", form == "tanh"), ("gelu_new", form == "tanh"), ("gelu", form == "erf")):
        theirs = reference_model(ours.config, hidden_act=activation)
        copy_into(ours, theirs)
        assert (largest_difference(ours(tokens), theirs(tokens).logits) <= 1e-5) is same, activation


@pytest.mark.parametrize(
    ("architecture", "changes", "theirs"),
    [
        ("opt", {}, {"do_layer_norm_before": False}),
        ("opt-post", {"norm_first": True}, {"do_layer_norm_before": False}),
        ("pythia", {"rotary_fraction": 0.5}, {"rope_parameters": {"rope_theta": 10_000.0, "rope_type": "default"}}),
        ("llama", {"norm_epsilon": 1e-6}, {"rms_norm_eps": 1e-2}),
    ],
)
def test_another_form_is_told_apart(architecture: str, changes: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Negative control: what the comparison above must not let pass."""
    ours = random_model(architecture, **changes)
    other = reference_model(ours.config, **theirs)
    copy_into(ours, other, strict=False)
    tokens = torch.arange(2, 34)[None]
    assert largest_difference(ours(tokens), other(tokens).logits) > 1e-3


@pytest.mark.parametrize("architecture", SHAPES)
def test_documents_do_not_see_each_other(architecture: str) -> None:
    """Logits and gradients of a packed sequence are those of its documents one by one; without borders they are not."""
    model = random_model(architecture)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 256, (2, 32), generator=generator)
    ends = [[4, 5, 20], [11, 31]]
    for row, places in enumerate(ends):
        tokens[row, places] = END_OF_DOCUMENT
    together = model(tokens, packed(tokens, END_OF_DOCUMENT))
    weight = torch.randn(together.shape, generator=generator)
    (together * weight).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}  # type: ignore[union-attr]
    model.zero_grad()
    for row, places in enumerate(ends):
        for start, stop in pairwise(sorted({0, *(place + 1 for place in places), 32})):
            alone = model(tokens[row : row + 1, start:stop])
            assert largest_difference(together[row : row + 1, start:stop], alone) <= 1e-5
            (alone * weight[row : row + 1, start:stop]).sum().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("attention.key.bias"):
            # A key's bias adds the same to every score, so that its gradient is 0 but for rounding.
            assert gradients[name].abs().max() <= 1e-3
            continue
        assert parameter.grad is not None
        assert largest_difference(gradients[name], parameter.grad) <= 1e-5, name
    assert largest_difference(model(tokens), together) > 1e-2


def test_documents_are_numbered_with_their_last_token() -> None:
    tokens = torch.tensor([[5, 9, 9, 5, 5, 9, 5], [9, 5, 5, 5, 5, 5, 5], [5, 5, 5, 5, 5, 5, 5]])
    documents = number_documents(tokens, 9)
    assert documents.tolist() == [[0, 0, 1, 2, 2, 2, 3], [0, 1, 1, 1, 1, 1, 1], [0] * 7]
    positions = [[0, 1, 0, 0, 1, 2, 0], [0, 0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]]
    assert positions_in_documents(documents).tolist() == positions


def test_a_context_without_documents_keeps_the_kernel_without_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    kernel = nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        nn.functional,
        "scaled_dot_product_attention",
        lambda *given, **named: seen.append((named["attn_mask"], named["is_causal"])) or kernel(*given, **named),
    )
    random_model("opt")(torch.zeros(1, 8, dtype=torch.int64))
    assert seen == [(None, True)] * 2


def test_borders_and_a_cache_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="one document"):
        Context(documents=torch.zeros(1, 4), cache=KeyValueCache(4))


@pytest.mark.parametrize("architecture", SHAPES)
def test_half_of_the_heads_give_half_of_the_sum(architecture: str) -> None:
    """Blocks take the number of heads from their weights: cut as `split` says, two halves add up to the whole."""
    model = random_model(architecture)
    split = ARCHITECTURES[architecture_name(model.config)].split
    x = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(4))
    attention = model.layers[0].attention
    whole = attention(x, Context())
    parts = []
    for rank in range(2):
        half = random_model(architecture).layers[0].attention
        for name, module in half.named_children():
            if isinstance(module, nn.Linear):
                cut = split(f"layers.0.attention.{name}")
                assert cut in ("column", "row")
                module.weight = nn.Parameter(module.weight.chunk(2, 0 if cut == "column" else 1)[rank])
                if module.bias is not None:
                    # A row's bias is added once, after the sum.
                    bias = module.bias.chunk(2)[rank] if cut == "column" else module.bias / 2
                    module.bias = nn.Parameter(bias)
        parts.append(half(x, Context()))
    assert largest_difference(parts[0] + parts[1], whole) <= 1e-5


@pytest.mark.parametrize("architecture", SHAPES)
def test_every_matrix_has_a_cut(architecture: str) -> None:
    model = build_empty(model_config(SHAPES[architecture]), "meta")
    split = ARCHITECTURES[architecture_name(model.config)].split
    cuts = {
        name: split(name) for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Embedding))
    }
    whole = {name for name, cut in cuts.items() if cut == "replicated"}
    assert whole == ({"embedding.positions", "embedding.project", "head.project"} & set(cuts))
    assert {name for name, cut in cuts.items() if cut == "vocabulary"} == {"embedding.tokens", "head.output"}
    assert sum(cut == "row" for cut in cuts.values()) == 2 * model.config.layers
    norms = [name for name, _ in model.named_modules() if name.endswith("norm")]
    assert norms
    assert {split(name) for name in norms} == {"replicated"}


@pytest.mark.parametrize("architecture", SHAPES)
def test_names_and_the_parts_of_a_model(architecture: str) -> None:
    model = random_model(architecture)
    assert all(name.startswith(("embedding.", "layers.", "head.")) for name, _ in model.named_parameters())
    tokens, context = torch.arange(2, 18)[None], Context()
    x = model.embedding(tokens, context)
    assert x.shape == (1, 16, 32)
    for block in model.layers:
        x = block(x, context)
    assert torch.equal(model.head(x), model(tokens))
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names))
    assert ("head.output.weight" in names) is (not architecture.startswith("opt"))


def test_opt_has_one_table_for_input_and_output() -> None:
    model = random_model("opt")
    assert model.head.output.weight is model.embedding.tokens.weight  # type: ignore[union-attr]


def test_dropout_falls_in_training_alone_and_follows_the_seed() -> None:
    model = random_model("opt", dropout=0.1, attention_dropout=0.1)
    plain = random_model("opt")
    tokens = torch.arange(2, 34)[None]
    assert torch.equal(model.eval()(tokens), plain(tokens))
    model.train()
    torch.manual_seed(1)
    first, second = model(tokens), model(tokens)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(model(tokens), first)
    # As metaseq has it: none on the embedding, one mask on the softmax and one on each part's result.
    assert torch.equal(model.embedding(tokens, Context()), plain.embedding(tokens, Context()))
    assert sum(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules()) == 3 * 2


def test_attention_dropout_is_that_of_transformers() -> None:
    """The kept weights of the softmax are scaled by 1 / (1 - p): the mean over many masks is the value without."""
    attention = CausalAttention(dropout=0.5).train()
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(4000, 1, 4, 8, generator=generator)[:1].expand(4000, 1, 4, 8) for _ in range(3))
    torch.manual_seed(0)
    mean = attention(query, key, value, Context()).mean(0)
    assert largest_difference(mean, attention.eval()(query[:1], key[:1], value[:1], Context())[0]) < 0.1


@pytest.mark.parametrize("architecture", ["pythia", "llama"])
def test_rotary_tables_survive_a_start_without_memory(architecture: str) -> None:
    model = random_model(architecture)
    empty = build_empty(model.config, "meta").to_empty(device="cpu")
    empty.load_state_dict(model.state_dict())
    tokens = torch.arange(16)[None]
    assert torch.equal(empty(tokens), model(tokens))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_turns_by_angles_in_fp32(dtype: torch.dtype) -> None:
    """At position 2,047 a cast rotation is that of fp64 but for the rounding of its result and of fp32 angles."""
    dimensions, length, base = 64, 2048, 10_000.0
    rotary = Rotary(dimensions, length, base).to(dtype)
    x = torch.randn(64, 1, length, dimensions, generator=torch.Generator().manual_seed(0)).to(dtype)
    turned = rotary(x)
    assert turned.dtype == dtype
    # The same through positions that are given, as a cache and packed documents give them.
    assert torch.equal(rotary(x[:, :, -1:], torch.tensor([length - 1])), turned[:, :, -1:])
    last = torch.complex(*x[:, 0, -1].double().chunk(2, dim=-1))
    exponents = torch.arange(0, dimensions, 2, dtype=torch.float64) / dimensions
    expected = last * torch.polar(torch.ones_like(exponents), (length - 1) * base**-exponents)
    error = turned[:, 0, -1].double() - torch.cat((expected.real, expected.imag), dim=-1)
    # Half a unit in the last place, and what 24 bits of a frequency make of an angle after so many positions.
    rounding = torch.cat((expected.real, expected.imag), dim=-1).abs() * torch.finfo(dtype).eps / 2
    angle = (length - 1) * 2**-23 * expected.abs().repeat(1, 2)
    assert (error.abs() <= rounding + angle).all()


def test_a_cast_model_keeps_its_rotary_tables() -> None:
    model = random_model("llama")
    before = {name: table.clone() for name, table in model.named_buffers()}
    assert len(before) == 2
    for cast in (model.bfloat16(), model.half(), model.float(), model.to("meta").to_empty(device="cpu").bfloat16()):
        tables = dict(cast.named_buffers())
        assert all(torch.equal(tables[name], table) for name, table in before.items())


def test_untrained_loss_is_that_of_a_guess() -> None:
    model = build(model_config(SHAPES["llama"]), 0)
    tokens = torch.randint(0, 257, (8, 33), generator=torch.Generator().manual_seed(0))
    assert cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).item() == pytest.approx(math.log(VOCABULARY), abs=0.05)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architecture": "gpt"}, "must be one of pythia, opt, llama"),
        ({**SHAPES["pythia"], "hidden": 3}, "no field 'hidden'"),
        ({**SHAPES["pythia"], "heads": 5}, "not a multiple"),
        ({**SHAPES["pythia"], "layers": "2"}, "layers is '2'; it must be int"),
        ({**SHAPES["pythia"], "layers": 0}, "at least 1"),
        ({**SHAPES["pythia"], "rotary_fraction": 0.4}, "even number"),
        ({**SHAPES["pythia"], "gelu": "fast"}, "gelu is 'fast'; it must be one of tanh, erf"),
        ({**SHAPES["opt"], "embedding_width": 32}, "leave it out"),
        ({**SHAPES["opt"], "dropout": 1.0}, r"must be in \[0, 1\)"),
        ({**SHAPES["opt"], "heads": 3}, "not a multiple"),
        ({**SHAPES["llama"], "width": 36}, "even number"),
        ({"architecture": "llama", "layers": 2}, "'vocabulary' is missing"),
    ],
)
def test_bad_shapes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_config(values)


def test_configuration_survives_a_round_trip() -> None:
    for shape in SHAPES.values():
        config = model_config(shape)
        assert model_config(plain_model_config(config)) == config


@pytest.mark.parametrize("architecture", SHAPES)
def test_a_sequence_too_long_is_refused(architecture: str) -> None:
    with pytest.raises(ValueError, match="longer than the model's 32"):
        random_model(architecture)(torch.zeros(1, 33, dtype=torch.int64))
