"""Presets against the papers' tables, written down here once more, and against themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from model.architectures.architecture import ModelConfig
from model.architectures.llama.model import LlamaConfig
from model.architectures.opt.model import OptConfig
from model.architectures.pythia.model import PythiaConfig
from model.architectures.registry import ARCHITECTURES, architecture_name, build_empty, model_config
from model.configuration import from_plain, to_plain
from model.optim.scaler import ScalerConfig
from model.presets import preset, preset_names
from model.presets.page import page
from model.run.hyperparameters import TrainingConfig
from tests.model.support.scalers import NEOX_SCALER, OPT_SCALER

# Biderman et al. 2023 and the configurations of EleutherAI/pythia:
# layers, width, heads, rotary dimensions, peak rate, micro-batch, accumulation, GPUs, tensor-parallel ranks,
# padded vocabulary, parameters, without embeddings, σ of small_init, σ of wang_init.
PYTHIA: dict[str, tuple[Any, ...]] = {
    "14m": (6, 128, 4, 8, 1e-3, 32, 1, 32, 1, 50304, 14_067_712, 1_189_888, 0.055902, 0.029463),
    "31m": (6, 256, 8, 8, 1e-3, 32, 1, 32, 1, 50304, 30_494_720, 4_739_072, 0.039528, 0.020833),
    "70m": (6, 512, 8, 16, 1e-3, 32, 1, 32, 1, 50304, 70_426_624, 18_915_328, 0.027951, 0.014731),
    "160m": (12, 768, 12, 16, 6e-4, 32, 1, 32, 1, 50304, 162_322_944, 85_056_000, 0.022822, 0.006014),
    "410m": (24, 1024, 16, 16, 3e-4, 32, 1, 32, 1, 50304, 405_334_016, 302_311_424, 0.019764, 0.002604),
    "1b": (16, 2048, 8, 64, 2.5e-4, 16, 1, 64, 1, 50304, 1_011_781_632, 805_736_448, 0.013975, 0.002762),
    "1.4b": (24, 2048, 16, 32, 2e-4, 16, 1, 64, 1, 50304, 1_414_647_808, 1_208_602_624, 0.013975, 0.001841),
    "2.8b": (32, 2560, 32, 20, 1.6e-4, 16, 1, 64, 1, 50304, 2_775_208_960, 2_517_652_480, 0.0125, 0.001235),
    "6.9b": (32, 4096, 32, 32, 1.2e-4, 8, 2, 128, 2, 50432, 6_857_302_016, 6_444_163_072, 0.009882, 0.000977),
    "12b": (36, 5120, 40, 32, 1.2e-4, 8, 2, 256, 4, 50688, 11_846_072_320, 11_327_027_200, 0.008839, 0.000776),
}
# EleutherAI/gpt-neox, configs/20B.yml, in the same order.
NEOX = (44, 6144, 64, 24, 0.97e-4, 4, 32, 96, 2, 50432, 20_554_567_680, 19_934_859_264, 0.008069, 0.000580)
NEOX_FAMILY = {**{f"pythia-{size}": row for size, row in PYTHIA.items()}, "neox-20b": NEOX}
# Zhang et al. 2022, table 1, and metaseq, launcher/opt_job_constants.py:
# layers, width, heads, tokens per step, peak rate, tensor-parallel ranks, updates, warm-up, parameters.
OPT: dict[str, tuple[Any, ...]] = {
    "opt-125m": (12, 768, 12, 524_288, 6e-4, 2, 572_204, 715, 125_239_296),
    "opt-350m": (24, 1024, 16, 524_288, 3e-4, 2, 572_204, 715, 331_196_416),
    "opt-1.3b": (24, 2048, 32, 1_048_576, 2e-4, 2, 286_102, 357, 1_315_758_080),
    "opt-2.7b": (32, 2560, 32, 1_048_576, 1.6e-4, 4, 286_102, 357, 2_651_596_800),
    "opt-6.7b": (32, 4096, 32, 2_097_152, 1.2e-4, 2, 143_051, 178, 6_658_473_984),
    "opt-13b": (40, 5120, 40, 4_194_304, 1e-4, 2, 71_525, 89, 12_853_473_280),
    "opt-30b": (48, 7168, 56, 4_194_304, 1e-4, 2, 71_525, 89, 29_974_540_288),
    "opt-66b": (64, 9216, 72, 2_097_152, 8e-5, 8, 143_051, 178, 65_719_701_504),
    "opt-175b": (96, 12288, 96, 2_097_152, 1.2e-4, 8, 143_051, 2_000, 174_604_468_224),
}
# Touvron et al. 2023, tables 2 and 15:
# parameters, width, heads, layers, feed-forward width, peak rate, tokens, epsilon of the norms, GPU hours.
LLAMA: dict[str, tuple[Any, ...]] = {
    "llama-7b": (6_738_415_616, 4096, 32, 32, 11_008, 3e-4, 10**12, 1e-6, 82_432),
    "llama-13b": (13_015_864_320, 5120, 40, 40, 13_824, 3e-4, 10**12, 1e-6, 135_168),
    "llama-33b": (32_528_943_616, 6656, 52, 60, 17_920, 1.5e-4, 14 * 10**11, 1e-6, 530_432),
    "llama-65b": (65_285_660_672, 8192, 64, 80, 22_016, 1.5e-4, 14 * 10**11, 1e-5, 1_022_362),
}
PUBLISHED = [*NEOX_FAMILY, *OPT, *LLAMA]
TINY = ["tiny-llama", "tiny-opt", "tiny-pythia"]
TABLES = ("embedding.tokens.weight", "embedding.positions.weight", "head.output.weight")
# Every contradiction known of: (preset, what it is about) -> what the sources say.
CONTRADICTIONS: dict[tuple[str, str], set[Any]] = {
    ("pythia-1b", "training.schedule.learning_rate"): {2.5e-4, 3e-4},
    ("pythia-1b", "training.precision"): {"fp16", "bf16"},
    ("pythia-6.9b", "model.initialisation"): {"normal", "small"},
    ("pythia-12b", "model.initialisation"): {"normal", "small"},
    ("pythia-12b", "model.layers"): {36, 40},
    ("pythia-12b", "model.heads"): {36, 40},
    ("pythia-12b", "comma after attention-config"): {"missing", "present"},
    **{(f"pythia-{size}", "training.batch"): {1024, 2048} for size in ("160m", "410m", "1.4b")},
    **{(f"pythia-{size}", "training.steps"): {143_000, 71_500} for size in ("160m", "410m", "1.4b")},
    **{(f"pythia-{size}", "number of checkpoints"): {143, 154} for size in PYTHIA},
    **{(name, "model.gelu"): {"tanh", "erf"} for name in NEOX_FAMILY},
    **{(name, "norms of a block"): {"one shared", "two untied"} for name in NEOX_FAMILY},
    **{(name, "training.schedule.kind"): {"neox_until_2023_08", "cosine"} for name in NEOX_FAMILY},
    **{(name, "rotary tables"): {"fp16", "fp32", "fp32, cast to the model's precision"} for name in NEOX_FAMILY},
    ("neox-20b", "training.batch"): {1538, 1536},
    ("neox-20b", "parameters"): {20_554_567_680, 20_556_201_984},
    ("neox-20b", "training.optimizer.weight_decay"): {0.01, 0.1},
    ("neox-20b", "training.schedule.learning_rate"): {9.7e-5, 9.7e-6},
    ("neox-20b", "tokens of the tokenizer"): {50_277, 50_257},
    ("neox-20b", "size"): {"20 billion, 200억", "2 billion, 20억"},
    **{(name, "activation"): {"ReLU", "GELU"} for name in OPT},
    **{(name, "training.schedule.kind"): {"linear", "cosine"} for name in OPT},
    **{(name, "training.optimizer.decay"): {"all", "matrices"} for name in OPT},
    **{(name, "training.batch"): {row[3] // 2048, "the same for every size"} for name, row in OPT.items()},
    **{(name, "model.attention_dropout"): {0.1, 0.0} for name in OPT},
    **{(name, "model.vocabulary"): {50_265, 50_272} for name in OPT},
    **{(name, "master weights"): {"fp16", "fp32"} for name in OPT},
    ("opt-125m", "published.batch_tokens"): {500_000, 524_288},
    ("opt-30b", "published.batch_tokens"): {4_000_000, 4_194_304},
    ("opt-350m", "model.norm_first"): {True, False},
    ("opt-350m", "model.embedding_width"): {512, 1024},
    ("opt-350m", "parameters"): {331_196_416, 355_889_152},
    ("opt-175b", "training.schedule.learning_rate"): {1.2e-4, 3e-5},
    ("opt-175b", "training.schedule.warmup"): {2000, 178},
    ("opt-175b", "training.optimizer.clip"): {1.0, 0.3},
    ("opt-175b", "training.scaler.minimum"): {2**-5, 0.25, 1e-4},
    ("opt-175b", "training.scaler.window"): {132, 256},
    ("opt-13b", "training.scaler.kind"): {"metaseq_until_2022_05", "metaseq"},
    ("opt-66b", "training.scaler.kind"): {"metaseq_until_2022_05", "metaseq"},
    ("opt-175b", "published.gpus"): {992, 1024},
    ("opt-175b", "sequences per step"): {1024, 992},
    ("opt-175b", "published.tokens"): {300 * 10**9, 180 * 10**9},
    **{(name, "model.norm_epsilon"): {1e-5, 1e-6} for name in LLAMA},
    **{(name, "published.batch_tokens"): {"varies with the size", 4_000_000, 4_194_304} for name in LLAMA},
    **{(name, "training.steps"): {row[6] // 4_000_000, row[6] // 4_194_304} for name, row in LLAMA.items()},
    **{(name, "training.optimizer.epsilon"): {"not stated", 1e-8} for name in LLAMA},
    **{(name, "training.optimizer.decay"): {"not stated", "matrices"} for name in LLAMA},
    **{(name, "training.packing"): {"not stated", "overlapping"} for name in LLAMA},
    **{(name, "training.precision"): {"not stated", "fp16", "bf16"} for name in LLAMA},
    **{(name, "training.checkpoints.every"): {"not stated", 1000} for name in LLAMA},
    **{(name, "optimizer"): {"AdamW", "AdaFactor"} for name in LLAMA},
    **{(f"llama-{size}", "training.schedule.minimum"): {3e-5, 0.0} for size in ("7b", "13b")},
    **{(f"llama-{size}", "training.schedule.minimum"): {1.5e-5, 0.0} for size in ("33b", "65b")},
    **{(name, "training.schedule.warmup"): {2000, 0} for name in LLAMA},
}


def model_of(name: str) -> Any:
    return model_config(preset(name)["model"])


def training_of(name: str) -> TrainingConfig:
    return from_plain(TrainingConfig, preset(name)["training"], f"{name}: training")


@cache
def counts(name: str) -> tuple[int, int]:
    """All parameters of the model on the meta device, and those outside token tables, positions and output."""
    sizes = {place: value.numel() for place, value in build_empty(model_of(name), "meta").named_parameters()}
    return sum(sizes.values()), sum(size for place, size in sizes.items() if place not in TABLES)


def test_there_is_a_preset_for_every_published_size() -> None:
    assert preset_names() == sorted([*PUBLISHED, *TINY])
    with pytest.raises(ValueError, match="no preset 'pythia-13b'; the presets are llama-13b, llama-33b"):
        preset("pythia-13b")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_read_and_built(name: str) -> None:
    values, model, training = preset(name), model_of(name), training_of(name)
    parts = [
        "family",
        "source",
        "parameters",
        "non_embedding_parameters",
        "model",
        "training",
        "published",
        "contradictions",
    ]
    assert list(values) == parts
    assert counts(name) == (values["parameters"], values["non_embedding_parameters"])
    assert model.parameters == values["parameters"]
    assert training.schedule.decay == training.steps and training.sequence_length == model.positions
    # A value that a preset leaves to a default could change under it.
    assert to_plain(training) == values["training"]


@pytest.mark.parametrize("name", NEOX_FAMILY)
def test_gpt_neox_family(name: str) -> None:
    layers, width, heads, rotary, rate, micro, accumulation, gpus, tensor, vocabulary, total, rest, *_ = NEOX_FAMILY[
        name
    ]
    config, training, published = model_of(name), training_of(name), preset(name)["published"]
    assert isinstance(config, PythiaConfig)
    assert (config.layers, config.width, config.heads, config.rotary_dimensions) == (layers, width, heads, rotary)
    assert counts(name) == (total, rest)
    # GPT-NeoX pads its 50,277 tokens to a multiple of 128 for each tensor-parallel rank.
    assert config.vocabulary == vocabulary == -(-50_277 // (128 * tensor)) * 128 * tensor
    assert (config.gelu, training.packing, training.optimizer.decay) == ("tanh", "overlapping", "matrices")
    assert (training.schedule.kind, training.schedule.learning_rate) == ("neox_until_2023_08", rate)
    cluster = tuple(published[field] for field in ("micro_batch", "accumulation", "gpus", "tensor"))
    assert cluster == (micro, accumulation, gpus, tensor)
    assert training.batch * tensor * published["pipeline"] == gpus * micro * accumulation
    assert training.schedule.warmup * 100 == training.steps, "1 % of the steps"
    assert training.steps * published["batch_tokens"] == published["tokens"]
    assert (training.optimizer.betas, training.optimizer.epsilon, training.optimizer.clip) == ((0.9, 0.95), 1e-8, 1.0)
    bf16 = name == "pythia-1b"
    assert (training.precision, training.scaler) == (("bf16", None) if bf16 else ("fp16", NEOX_SCALER))
    assert ScalerConfig("deepspeed", 4096.0, 1000, 2, 1.0) == NEOX_SCALER


def test_pythia_saw_299_892_736_000_tokens() -> None:
    for name in (f"pythia-{size}" for size in PYTHIA):
        training, published = training_of(name), preset(name)["published"]
        assert (training.steps, training.batch, training.schedule.warmup) == (143_000, 1024, 1430)
        assert 143_000 * 2_097_152 == 299_892_736_000 == published["tokens"]
        assert training.optimizer.weight_decay == 0.1
        assert len(training.checkpoints.steps(training.steps)) == 154


def test_neox_20b() -> None:
    training, published = training_of("neox-20b"), preset("neox-20b")["published"]
    assert (training.batch, training.steps, training.schedule.warmup) == (4 * 32 * 12, 150_000, 1500)
    assert published["batch_tokens"] == 3_145_728 and published["gpus"] == 12 * 2 * 4
    assert training.optimizer.weight_decay == 0.01 and training.checkpoints.every == 500
    # The count of the slim weights' card: both ranks' copies of what tensor parallelism does not cut.
    config = model_of("neox-20b")
    assert config.parameters + config.layers * 6 * config.width + 2 * config.width == 20_556_201_984


def sampled(name: str, config: ModelConfig) -> float:
    """The standard deviation of a million initial values of that parameter."""
    sample = torch.empty(1000, 1000)
    ARCHITECTURES[architecture_name(config)].initial(name, config)(sample, torch.Generator().manual_seed(0))
    return sample.std().item()


@pytest.mark.parametrize("name", NEOX_FAMILY)
def test_initial_values_of_the_gpt_neox_family(name: str) -> None:
    config = model_of(name)
    small, wang = NEOX_FAMILY[name][-2:]
    inner, outer = "layers.0.attention.query_key_value.weight", "layers.0.feed_forward.down.weight"
    other = replace(config, initialisation="small")
    assert [sampled(inner, other), sampled(outer, other)] == pytest.approx([small, wang], rel=5e-3)
    # 6.9B and 12B name no initialisation: GPT-NeoX's defaults. Step 0 of 6.9B is published with 0.02 and 0.0025.
    default = name in ("pythia-6.9b", "pythia-12b")
    assert config.initialisation == ("normal" if default else "small")
    if default:
        expected = [0.02, {"pythia-6.9b": 0.0025, "pythia-12b": 0.00235702}[name]]
        assert [sampled(inner, config), sampled(outer, config)] == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("name", OPT)
def test_opt(name: str) -> None:
    layers, width, heads, tokens, rate, tensor, updates, warmup, total = OPT[name]
    config, training, published = model_of(name), training_of(name), preset(name)["published"]
    assert isinstance(config, OptConfig)
    assert (config.layers, config.width, config.heads, config.vocabulary) == (layers, width, heads, 50_272)
    projected = name == "opt-350m"
    assert (config.norm_first, config.embedding_width) == ((False, 512) if projected else (True, None))
    assert (config.dropout, config.attention_dropout) == (0.1, 0.1)
    # Derived: the published count without the tied token table and the 2,050 rows of positions.
    embedding = 512 if projected else width
    assert counts(name) == (total, total - 50_272 * embedding - 2050 * width)
    assert training.batch * 2048 == published["batch_tokens"] == tokens
    assert training.steps == updates == 300 * 10**9 // tokens
    assert training.schedule.warmup == warmup
    assert warmup == (2000 if name == "opt-175b" else 375 * 10**6 // tokens)
    assert (training.schedule.kind, training.schedule.learning_rate) == ("linear", rate)
    assert published["tensor"] == tensor and published["tokens"] == 300 * 10**9
    assert 0 <= published["tokens"] - training.steps * tokens < tokens
    optimizer = training.optimizer
    assert (optimizer.betas, optimizer.epsilon, optimizer.weight_decay) == ((0.9, 0.95), 1e-8, 0.1)
    assert (optimizer.clip, optimizer.decay, training.packing) == (1.0, "all", "blocks")
    # The weights of all sizes but one are older than the change of metaseq's scaler.
    of_release = ScalerConfig(
        "metaseq_until_2022_05", 4.0, *((132, 1, 0.25) if name == "opt-175b" else (256, 1, 2**-13))
    )
    scaler = OPT_SCALER if name == "opt-66b" else of_release
    assert (training.precision, training.scaler, training.checkpoints.every) == ("fp16", scaler, 2000)
    assert ScalerConfig("metaseq", 4.0, 256, 1, 2**-5) == OPT_SCALER
    inner, outer = "layers.0.attention.query.weight", "layers.0.attention.output.weight"
    sigmas = [sampled(inner, config), sampled(outer, config)]
    assert sigmas == pytest.approx([0.006, 0.006 / (2 * layers) ** 0.5], rel=5e-3)


def test_opt_175b_ran_on_992_gpus_that_cannot_share_its_batch() -> None:
    published = preset("opt-175b")["published"]
    ranks = published["gpus"] // published["tensor"]
    assert ranks == 124 and training_of("opt-175b").batch % ranks != 0
    scaler = training_of("opt-175b").scaler
    assert scaler is not None and scaler.window == 2**14 // ranks
    assert published["micro_batch"] == 2_097_152 // ranks // 2048
    assert ranks * published["micro_batch"] * published["accumulation"] == 992


def test_the_launchers_row_does_not_give_the_released_opt_350m() -> None:
    released = model_of("opt-350m")
    assert replace(released, norm_first=True, embedding_width=None).parameters == 355_889_152 != released.parameters


def test_transformers_leaves_out_opts_attention_dropout() -> None:
    from transformers import OPTConfig

    assert (OPTConfig().attention_dropout, OPTConfig().dropout) == (0.0, 0.1)


@pytest.mark.parametrize("name", LLAMA)
def test_llama(name: str) -> None:
    total, width, heads, layers, feed_forward, rate, tokens, epsilon, hours = LLAMA[name]
    config, training, published = model_of(name), training_of(name), preset(name)["published"]
    assert isinstance(config, LlamaConfig)
    assert (config.layers, config.width, config.heads, config.vocabulary) == (layers, width, heads, 32_000)
    assert config.feed_forward == feed_forward == 256 * -(-int(2 * 4 * width / 3) // 256)
    assert config.norm_epsilon == epsilon
    # Derived: both tables of 32,000 words.
    assert counts(name) == (total, total - 2 * 32_000 * width)
    assert training.batch * 2048 == published["batch_tokens"] == 4_194_304
    assert training.steps == tokens // 4_194_304 and published["tokens"] == tokens
    schedule, optimizer = training.schedule, training.optimizer
    assert (schedule.kind, schedule.learning_rate, schedule.warmup) == ("cosine", rate, 2000)
    assert (optimizer.betas, optimizer.weight_decay, optimizer.clip) == ((0.9, 0.95), 0.1, 1.0)
    assert (training.precision, training.scaler) == ("bf16", None)
    assert (published["gpu"], published["gpu_hours"]) == ("a100-80gb", hours)


def test_llama_65b_took_21_days() -> None:
    """Section 2.4: 380 tokens/s on each of 2,048 GPUs; 1.4T tokens are then the hours of table 15, and 21 days."""
    published = preset("llama-65b")["published"]
    hours = published["tokens"] / published["tokens_per_second_per_gpu"] / 3600
    assert hours == pytest.approx(published["gpu_hours"], rel=2e-3)
    assert round(hours / published["gpus"] / 24) == 21


@pytest.mark.parametrize("name", PUBLISHED)
def test_rates_end_at_a_tenth(name: str) -> None:
    schedule = training_of(name).schedule
    assert schedule.minimum == pytest.approx(schedule.learning_rate / 10, rel=1e-12)
    assert schedule.at(schedule.warmup) == schedule.learning_rate and schedule.at(schedule.decay) == schedule.minimum


@pytest.mark.parametrize("name", TINY)
def test_tiny_presets_are_of_one_scale(name: str) -> None:
    config, training = model_of(name), training_of(name)
    shape = (config.vocabulary, config.positions, config.layers, config.width, config.heads)
    assert shape == (4096, 128, 3, 96, 4)
    assert (training.batch, training.steps, training.precision) == (16, 200, "fp32")
    assert name != "tiny-opt" or (config.dropout, config.attention_dropout) == (0.0, 0.0)
    assert preset(name)["published"] is None and preset(name)["contradictions"] == []


@pytest.mark.parametrize(("name", "field"), CONTRADICTIONS)
def test_contradictions_are_named_with_what_each_source_says(name: str, field: str) -> None:
    (entry,) = (entry for entry in preset(name)["contradictions"] if entry["field"] == field)
    assert set(entry["values"].values()) == CONTRADICTIONS[name, field]


@pytest.mark.parametrize("name", PUBLISHED)
def test_contradictions_agree_with_what_the_preset_takes(name: str) -> None:
    values = preset(name)
    fields = [entry["field"] for entry in values["contradictions"]]
    assert len(fields) == len(set(fields))
    for entry in values["contradictions"]:
        assert list(entry) == ["field", "values", "chosen", "why"] and entry["why"].endswith(".")
        assert len({repr(value) for value in entry["values"].values()}) == len(entry["values"]) >= 2
        assert entry["chosen"] in entry["values"].values()
        first, *path = entry["field"].split(".")
        if first in values:
            taken = values[first]
            for step in path:
                taken = taken[step]
            assert taken == entry["chosen"], entry["field"]


def test_the_swapped_12b_is_refused() -> None:
    """pythia-12b-deduped.yml: 40 layers and 36 heads."""
    with pytest.raises(ValueError, match="width 5120 is not a multiple of heads 36"):
        model_config(preset("pythia-12b")["model"] | {"layers": 40, "heads": 36})


def test_the_page_is_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "presets.md"
    assert path.read_text(encoding="utf-8") == page(), "run python -m model.presets.page > docs/presets.md"
