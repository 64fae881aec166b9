"""Plans against real tensors, real allocations, and what the papers published."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from model.architectures.context import Context
from model.architectures.registry import model_config
from model.cost.carbon import megawatt_hours, tonnes_co2e
from model.cost.devices import DEVICES
from model.cost.flops import mfu, model_flops
from model.engine.buckets import bucket_elements
from model.engine.native import NativeEngine
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.parallel.ranks import MeshCoordinates
from model.parallel.recompute import run_block
from model.parallel.shapes import elements, local_shapes, whole_shapes
from model.parallel.stage import Stage
from model.planning.activations import kept_by_block
from model.planning.layouts import layout_of, objections
from model.planning.memory import exchange_bytes, memory, memory_of_stage, owned_elements, states_of
from model.planning.plan import plan, task_of, to_json
from model.planning.proposals import estimate, fits, propose, tokens_per_second_per_gpu
from model.planning.speed import step_time
from model.presets import preset, preset_names
from tests.model.support.allocations import Allocations
from tests.model.support.flops_conventions import neox_flops
from tests.model.support.small import SHAPES

ADAMW = AdamWConfig(betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1, clip=1.0)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = {"fp32": 4, "bf16": 2}
A100_40, A100_80, H100, H200 = (DEVICES[name] for name in ("a100-40gb", "a100-80gb", "h100", "h200"))


def cuda(**values) -> Layout:
    return Layout(engine="deepspeed", device="cuda", **values)


def published_layout(name: str) -> Layout:
    said = preset(name)["published"]
    keys = ("tensor", "pipeline", "zero", "micro_batch", "recompute")
    return layout_of({key: said[key] for key in keys}, said["gpus"])


def rank_of(tensor: int, pipeline: int, tensor_rank: int, stage: int) -> SimpleNamespace:
    """The groups of one rank, without the other ranks."""
    return SimpleNamespace(coordinates=MeshCoordinates(stage, 0, tensor_rank), tensor=None)


# Shapes and states: exact.


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("tensor,pipeline", [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)])
def test_local_shapes_are_those_of_the_stage(name, tensor, pipeline):
    config = model_config(SHAPES[name])
    layout = Layout(engine="deepspeed", tensor=tensor, pipeline=pipeline)
    for stage in range(pipeline):
        for tensor_rank in range(tensor):
            built = Stage(config, layout, rank_of(tensor, pipeline, tensor_rank, stage))
            real = {name: tuple(held.shape) for name, held in built.named()}
            assert local_shapes(config, layout, tensor_rank, stage) == real


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_its_parameters(name):
    config = model_config(preset(name)["model"])
    assert sum(map(elements, whole_shapes(config).values())) == preset(name)["parameters"]


def test_a_tied_embedding_is_held_at_both_ends():
    config = model_config(SHAPES["opt"])
    ends = [local_shapes(config, Layout(engine="deepspeed", pipeline=2), 0, stage) for stage in (0, 1)]
    assert all("embedding.tokens.weight" in end for end in ends)
    assert "head.output.weight" not in ends[1]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_native_states_are_exact(name, precision):
    config = model_config(SHAPES[name])
    engine = trained(config, Layout(), precision, 32, 1)
    states = states_of(config, Layout(), precision)
    weights = sum(held.nbytes for _, held in engine.stage.named())
    assert states.weights == weights
    assert states.gradients == sum(master.grad.nbytes for master in engine._masters.values())
    moments = sum(value.nbytes for state in engine._optimizer.state.values() for value in state.values())
    masters = 0 if precision == "fp32" else sum(master.nbytes for master in engine._masters.values())
    assert states.optimizer == moments + masters


def test_zero_as_in_its_paper():
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters on 64 ranks take 120, 31.4, 16.6 and 1.9 GB, with
    gradients in half precision; ours are in fp32, 2 bytes more for each that is held.
    """
    parameters, ranks = 7.5e9, 64
    shapes = {"w": (7_500_000_000 // 1000, 1000)}
    expected = {0: 120e9, 1: 31.4e9, 2: 16.6e9, 3: 1.9e9}
    for stage, total in expected.items():
        owned = owned_elements(shapes, stage, ranks)
        held = {"weights": owned if stage == 3 else parameters, "gradients": owned if stage >= 2 else parameters}
        paper = 2 * held["weights"] + 2 * held["gradients"] + 12 * owned
        assert paper == pytest.approx(total, rel=0.02)
        config = model_config(preset("llama-7b")["model"])
        states = states_of(config, cuda(data=ranks, zero=stage), "bf16")
        whole = config.parameters
        ours = 2 * (owned_elements(whole_shapes(config), 3, ranks) if stage == 3 else whole)
        assert states.weights == ours
        assert states.gradients == pytest.approx(4 * (whole / ranks if stage >= 2 else whole), rel=1e-3)
        assert states.optimizer == pytest.approx(12 * (whole if stage == 0 else whole / ranks), rel=1e-3)


def test_zero_pads_as_deepspeed():
    """Stages 1 and 2 to a multiple of 2 · ranks for matrices and the rest apart, stage 3 tensor by tensor."""
    shapes = {"a.weight": (3, 5), "a.bias": (3,), "b.weight": (7, 1)}
    assert owned_elements(shapes, 0, 4) == 25
    assert owned_elements(shapes, 1, 4) == owned_elements(shapes, 2, 4) == 24 // 4 + 8 // 4
    assert owned_elements(shapes, 3, 4) == 4 + 1 + 2


# Activations and peaks: against every allocation that PyTorch makes.


@pytest.fixture(scope="module")
def two_ranks():
    """A group of two of which one is here: exchanges leave their results undefined, but of the right shape."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield distributed.group.WORLD
    distributed.destroy_process_group()


def kept(config, layout: Layout, group, precision: str) -> int:
    """Bytes that stay after the forward pass of a block in the middle of others."""
    sequences, positions = 2, 32
    place = SimpleNamespace(coordinates=MeshCoordinates(0, 0, 0), tensor=group)
    stage = Stage(config, layout, place, seed=1).to(DTYPES[precision])
    cut = layout.tensor if layout.sequence_parallel else 1
    x = torch.randn(sequences, positions // cut, config.width, dtype=DTYPES[precision])
    with Allocations([*stage.parameters(), *stage.buffers()]) as allocations:
        x = (x + 0).requires_grad_()
        found = []
        for block in stage.layers.values():
            x = run_block(block, x, Context(), layout.recompute)
            found.append(allocations.live())
    return found[1] - found[0]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recompute", ["none", "selective", "whole"])
def test_kept_activations_are_exact(name, precision, recompute):
    config = model_config(SHAPES[name])
    layout = Layout(engine="deepspeed", recompute=recompute, micro_batch=2)
    assert kept(config, layout, None, precision) == kept_by_block(config, layout, SIZES[precision]) * 64


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("sequence_parallel", [False, True])
@pytest.mark.parametrize("recompute", ["none", "selective", "whole"])
def test_kept_activations_are_exact_under_tensor_parallelism(two_ranks, name, sequence_parallel, recompute):
    config = model_config(SHAPES[name])
    layout = Layout(
        engine="deepspeed", tensor=2, sequence_parallel=sequence_parallel, recompute=recompute, micro_batch=2
    )
    assert kept(config, layout, two_ranks, "bf16") == kept_by_block(config, layout, 2) * 64


def test_activations_beside_korthikanti():
    """Without scores theirs is 34 · s · b · d in half precision, 10 + 24 / t of it under tensor parallelism.

    OPT's block is theirs with ReLU, which keeps 8 bytes less, and without dropout masks 2 bytes less; ours keep 4 bytes
    for each head and 16 for each token more.
    """
    config = model_config(preset("opt-175b")["model"] | {"dropout": 0.0, "attention_dropout": 0.0})
    d, a = config.width, config.heads
    for t in (1, 8):
        assert kept_by_block(config, cuda(tensor=t), 2) == (10 - 2) * d + (24 - 8) * d / t + 4 * a / t + 16
    # With dropout its masks are there too.
    dropped = model_config(preset("opt-175b")["model"])
    assert dropped.dropout and kept_by_block(dropped, cuda(), 2) == (34 - 8) * d + 4 * a + 16
    # "Full" recomputation: 2 · s · b · d.
    assert kept_by_block(config, cuda(recompute="whole"), 2) == 2 * d


def trained(config, layout: Layout, precision: str, length: int, accumulation: int, tracked: bool = False):
    """A native engine after a step; with `tracked`, the most that tensors took in a second one."""
    engine = NativeEngine(Stage(config, layout, seed=1), ADAMW, precision)
    torch.manual_seed(0)
    batches = [torch.randint(config.vocabulary, (layout.micro_batch, length + 1)) for _ in range(accumulation)]

    def step() -> None:
        engine.accumulate(batches)
        engine.gradient_norm()
        engine.update(1e-3, 1.0)

    step()
    if not tracked:
        return engine
    engine.discard()
    states = [value for state in engine._optimizer.state.values() for value in state.values()]
    parameters = [*engine.stage.parameters(), *engine._masters.values()]
    held = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in [*parameters, *states]}
    with Allocations([*parameters, *states, *engine.stage.buffers()]) as allocations:
        step()
    return sum(held.values()) + allocations.peak


@pytest.mark.parametrize("name", ["pythia", "opt", "llama"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recompute,accumulation", [("none", 1), ("selective", 2), ("whole", 2)])
def test_peak_of_a_step(name, precision, recompute, accumulation):
    """Within 3 % of what a whole step of the native engine takes at its fullest."""
    config = model_config(SHAPES[name] | {"vocabulary": 1024, "positions": 64, "layers": 3, "width": 64})
    layout = Layout(micro_batch=4, recompute=recompute)
    peak = trained(config, layout, precision, 64, accumulation, tracked=True)
    assert memory(config, layout, precision, 64, 4 * accumulation).total == pytest.approx(peak, rel=0.03)


def test_a_pipeline_keeps_micro_batches_waiting():
    """One forward, one backward: as many as stages follow, itself included, and never more than there are."""
    config = model_config(preset("neox-20b")["model"])
    layout = cuda(data=12, tensor=2, pipeline=4, zero=1, micro_batch=4, recompute="whole")

    def kept_on(stage: int, batch: int) -> float:
        return memory_of_stage(config, layout, "fp16", 2048, batch, stage).activations

    one = 11 * 2 * 6144 * 4 * 2048  # the input of each of 11 blocks
    assert kept_on(0, 1536) == pytest.approx(4 * one)
    assert kept_on(1, 1536) == pytest.approx(3 * one)
    assert kept_on(0, 96) == pytest.approx(2 * one)


def test_buckets_are_counted():
    """Of what a rank holds, at most 40 million elements, and more for more ranks; as DeepSpeed 0.19.8 makes them."""
    assert bucket_elements(cuda(data=8, zero=1), 10**6) == 10**6
    assert bucket_elements(cuda(data=8, zero=1), 10**9) == 40 * 10**6
    assert bucket_elements(cuda(data=128, zero=1), 10**9) == 128 * 10**6
    assert bucket_elements(cuda(data=2048, zero=1), 10**9) == 500 * 10**6
    config = model_config(preset("pythia-1b")["model"])
    largest, bucket = 50304 * 2048, 40 * 10**6
    for layout, precision, expected in [
        (cuda(data=8, zero=1), "fp16", 2 * 4 * bucket),
        (cuda(data=8, zero=1), "bf16", (4 + 2) * (bucket + largest)),
        (cuda(data=8, zero=2), "bf16", 2 * 2 * bucket + 2 * largest),
        (cuda(data=8, zero=3), "bf16", 2 * 2 * bucket + 2 * largest),
        (cuda(data=8, pipeline=2, zero=1), "fp16", (4 + 2) * bucket),
        (cuda(data=8), "fp32", 4 * (bucket + largest)),
        (cuda(), "fp32", 0),
        (Layout(), "bf16", 0),
    ]:
        assert exchange_bytes(config, layout, precision) == expected, (layout, precision)


@pytest.mark.parametrize("name,gpus,device", [("neox-20b", 96, A100_40), ("opt-66b", 64, H100)])
def test_what_is_proposed_can_start(name, gpus, device):
    """ZeRO 3 takes the weights tensor by tensor: a rank has its share, and one of them, which is less than in a step.

    Whole on every rank, they would take more than the card has.
    """
    task = task_of(preset(name), gpus, device)
    chosen = plan(task).chosen
    assert chosen.layout.zero == 3 and chosen.layout.tensor == 1
    assert 2 * task.config.parameters > device.memory
    largest = max(map(elements, whole_shapes(task.config).values()))
    assert chosen.memory.weights + 2 * largest < chosen.memory.total


# Speed: against what was published. The tolerance is stated with each; docs/planning.md shows all of it.


def test_llama_65b():
    """380 tokens per second and GPU, 21 days, 449.84 MWh and 173.19 t on 2,048 A100-80GB. The layout is not stated.

    The plan's own choice is within 10 %, and so is the tensor-parallel layout next to it.
    """
    task = task_of(preset("llama-65b"), 2048, A100_80)
    made = plan(task)
    assert made.tokens_per_second_per_gpu == pytest.approx(380, rel=0.10)
    assert made.days == pytest.approx(21, rel=0.10)
    assert made.gpu_hours == pytest.approx(1_022_362, rel=0.10)
    assert made.megawatt_hours == pytest.approx(449.84, rel=0.10)
    assert made.tonnes_co2e == pytest.approx(173.19, rel=0.10)
    assert fits(task, made.chosen) and not made.problems
    parallel = next(one for one in made.alternatives if one.layout.tensor > 1)
    assert tokens_per_second_per_gpu(task, parallel) == pytest.approx(380, rel=0.10)
    # From GPU hours on, the chain is the paper's own.
    assert made.megawatt_hours == pytest.approx(megawatt_hours(made.gpu_hours))
    assert made.tonnes_co2e == pytest.approx(tonnes_co2e(megawatt_hours(made.gpu_hours)))


@pytest.mark.parametrize(("name", "miss"), [("llama-7b", -0.211), ("llama-13b", -0.070), ("llama-33b", -0.145)])
def test_smaller_llamas_miss(name, miss):
    """GPU hours of table 15, on 256 GPUs: neither GPUs nor layout are stated. 7B and 33B are misses."""
    made = plan(task_of(preset(name), 256, A100_80))
    assert made.gpu_hours / preset(name)["published"]["gpu_hours"] - 1 == pytest.approx(miss, abs=0.005)


PYTHIA_MISSES = {
    **{"70m": -0.29, "160m": -0.25, "410m": -0.24, "1b": -0.19},
    **{"1.4b": -0.20, "2.8b": -0.24, "6.9b": -0.19, "12b": -0.29},
}


@pytest.mark.parametrize(("size", "miss"), PYTHIA_MISSES.items())
def test_pythias_gpu_hours_are_missed(size, miss):
    """With the published GPUs, tensor ranks and micro-batches, the plan is too fast by a fifth to a third."""
    published = preset(f"pythia-{size}")["published"]
    task = task_of(preset(f"pythia-{size}"), published["gpus"], A100_40)
    hours = task.gpus * task.steps * estimate(task, published_layout(f"pythia-{size}")).time.total / 3600
    assert hours / published["gpu_hours"] - 1 == pytest.approx(miss, abs=0.006)


def test_opt_175b():
    """147 TFLOP/s by Megatron's formula and 809,472 GPU hours on 992 A100-80GB, 124 data ranks of 8 sequences."""
    task = task_of(preset("opt-175b"), 992, A100_80, batch=992)
    found = estimate(task, published_layout("opt-175b"))
    speed = tokens_per_second_per_gpu(task, found)
    assert speed * neox_flops(task.config, 2048, recomputed=True).total == pytest.approx(147e12, rel=0.10)
    assert task.gpus * task.steps * found.time.total / 3600 == pytest.approx(809_472, rel=0.10)
    # metaseq also cuts the kept activations over the tensor ranks; with ours that takes sequence parallelism.
    assert not fits(task, found)
    cut = layout_of({"tensor": 8, "zero": 2, "micro_batch": 8, "recompute": "whole", "sequence_parallel": True}, 992)
    assert fits(task, estimate(task, cut))


def test_neox_20b():
    """TP 2 × PP 4 fits on 96 A100-40GB and is among the proposals."""
    task = task_of(preset("neox-20b"), 96, A100_40)
    layout = published_layout("neox-20b")
    assert (layout.tensor, layout.pipeline, layout.data) == (2, 4, 12)
    found = estimate(task, layout)
    assert fits(task, found)
    proposals, refusals = propose(task)
    assert (2, 4) in {(one.layout.tensor, one.layout.pipeline) for one in proposals}
    assert any(refusal.layout.startswith("tensor 3") and "64 heads" in refusal.reason for refusal in refusals)
    # A miss: 117 TFLOP/s were measured, without a fused attention kernel; the plan for ours is 30 to 45 % above it.
    teraflops = tokens_per_second_per_gpu(task, found) * neox_flops(task.config, 2048, recomputed=True).total / 1e12
    assert 1.30 < teraflops / 117 < 1.45


PYTHIAS = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]


@pytest.mark.parametrize("name", [f"pythia-{size}" for size in PYTHIAS])
def test_pythia_fits_as_published(name):
    """GPUs, tensor ranks and micro-batch of each size's configuration."""
    task = task_of(preset(name), preset(name)["published"]["gpus"], A100_40)
    found = estimate(task, published_layout(name))
    assert found.layout.zero == 1 and fits(task, found)


# llm-foundry's table: shapes nearest to theirs, sequences of 2,048, MFU by its own convention.
FOUNDRY = [
    ("opt-125m", A100_80, cuda(data=8, zero=2, micro_batch=32), 0.448),
    ("opt-350m", A100_80, cuda(data=8, zero=2, micro_batch=16), 0.516),
    ("opt-1.3b", H100, cuda(data=8, zero=3, micro_batch=16), 0.418),
    ("opt-13b", H100, cuda(data=8, zero=3, micro_batch=8, recompute="whole"), 0.398),
    ("opt-30b", H100, cuda(data=32, zero=3, micro_batch=4, recompute="whole"), 0.439),
    ("opt-66b", H100, cuda(data=64, zero=3, micro_batch=4, recompute="whole"), 0.426),
]


@pytest.mark.parametrize("name,device,layout,published", FOUNDRY)
def test_llm_foundry(name, device, layout, published):
    """Within 20 %: their sizes and layouts are not exactly these."""
    config = model_config(preset(name)["model"])
    time = step_time(config, layout, "bf16", device, 2048, 1024)
    speed = 1024 * 2048 / time.total / layout.ranks
    assert mfu(speed, model_flops(config, 2048), device.peak("bf16")) == pytest.approx(published, rel=0.20)


# Rules.


def refused(config, layout: Layout, precision="bf16", length=2048, batch=1024, device=A100_40) -> str:
    return "; ".join(objections(config, layout, device, precision, length, batch))


def test_objections():
    pythia = model_config(preset("pythia-1b")["model"])
    assert not refused(pythia, cuda(data=8, tensor=2, zero=1))
    assert "exceeds a machine of 8" in refused(pythia, cuda(tensor=16, zero=1))
    assert "does not divide 8 heads" in refused(pythia, cuda(tensor=3, zero=1))
    opt = model_config(preset("opt-125m")["model"] | {"vocabulary": 50265})
    assert "vocabulary of 50,265" in refused(opt, cuda(tensor=2, zero=1))
    llama = model_config(preset("llama-7b")["model"] | {"feed_forward_multiple": 3})
    assert "10,923 inner features of feed_forward.gate" in refused(llama, cuda(tensor=2, zero=1))
    assert "longer than 16 blocks" in refused(pythia, cuda(pipeline=17, zero=1))
    assert "not a multiple of micro_batch 3" in refused(pythia, cuda(micro_batch=3, zero=1))
    assert "accumulate gradients in bf16" in refused(pythia, cuda(data=2))
    assert "does not support bf16" in refused(pythia, cuda(zero=1), device=DEVICES["v100-32gb"])
    cut = cuda(tensor=8, zero=1, sequence_parallel=True)
    assert "sequences of 2050" in refused(pythia, cut, length=2050)


def test_layouts_that_cannot_be():
    with pytest.raises(ValueError, match="pipeline of 2 stages needs ZeRO stage 0 or 1"):
        layout_of({"pipeline": 2, "zero": 2}, 8)
    with pytest.raises(ValueError, match="does not divide 8 GPUs"):
        layout_of({"tensor": 3}, 8)
    with pytest.raises(ValueError, match="4 ranks on 8 GPUs"):
        layout_of({"tensor": 2, "data": 2}, 8)
    with pytest.raises(ValueError, match="no field 'expert'"):
        layout_of({"expert": 2}, 8)
    with pytest.raises(ValueError, match=r"layout\.tensor is 'two'"):
        layout_of({"tensor": "two"}, 8)
    assert layout_of({}, 1).engine == "native"
    assert layout_of({"tensor": 2}, 8) == cuda(data=4, tensor=2, zero=1)


def test_nothing_fits():
    with pytest.raises(ValueError, match=r"no layout of 2 a100-40gb can train this.*needs 22\d\d.\d GB of 40 GB"):
        plan(task_of(preset("opt-175b"), 2, A100_40))


def test_a_layout_that_does_not_fit_is_told():
    made = plan(task_of(preset("neox-20b"), 96, A100_40), {"zero": 1, "recompute": "whole"})
    assert not to_json(made)["fits"]
    assert "of 40 GB" in made.problems[0] and "gradients" in made.problems[0]
    assert made.alternatives


def test_parts_add_up():
    made = plan(task_of(preset("pythia-1.4b"), 1, H200, precision="bf16"))
    values = to_json(made)
    assert sum(values["memory"].values()) == pytest.approx(values["memory_per_gpu_bytes"], abs=6)
    assert sum(values["step"].values()) == pytest.approx(values["step_seconds"])
    tokens = values["tokens_per_second_per_gpu"] * values["gpu_hours"] * 3600
    assert tokens == pytest.approx(values["tokens"]) == pytest.approx(299_892_736_000)
    assert values["layout"]["engine"] == "native"
    assert values["parameters"] == 1_414_647_808
    # H200: an aim of 45 % and more (reference, section 9).
    assert 0.45 < values["mfu"] < 0.55


def test_each_part_of_a_step_answers_to_its_cause():
    """Bubble as (p - 1) / m (Narayanan et al. 2021), recomputation as a third forward pass, no exchange alone."""
    config = model_config(preset("neox-20b")["model"])

    def time(**values):
        return step_time(config, cuda(zero=1, **values), "fp16", A100_80, 2048, 1536)

    pipelined = time(data=12, tensor=2, pipeline=4, micro_batch=4)
    computed = pipelined.total - pipelined.bubble - pipelined.data - pipelined.update
    assert pipelined.bubble / computed == pytest.approx(3 / 32)
    assert time(tensor=1, data=96).bubble == time(tensor=1, data=96).tensor == time().data == 0
    stays, again = (time(data=12, tensor=2, pipeline=4, recompute=one) for one in ("none", "whole"))
    assert again.products / stays.products == pytest.approx(4 / 3, rel=0.02)
    assert again.tensor > stays.tensor > 0
