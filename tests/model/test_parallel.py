"""Parallelism piece by piece: cuts, ranks, a rank's stage, the layers on two ranks, and recomputation."""

from __future__ import annotations

import itertools
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, multiprocessing, nn
from torch.nn import functional

from model.architectures.layers import ParallelStyle
from model.architectures.registry import model_config
from model.layout import Layout
from model.parallel.cuts import shard, stage_blocks
from model.parallel.ranks import MeshCoordinates, coordinates_of
from model.parallel.stage import Stage
from model.state.boxes import Box, tiles, whole
from tests.model.support import parallel_launched as launched
from tests.model.support.small import SHAPES

TOLERANCE = 1e-5
SPLITS: tuple[ParallelStyle, ...] = ("column", "row", "vocabulary", "replicated")


@pytest.mark.parametrize("split", SPLITS)
@given(parts=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_shards_hold_every_element_once(split: ParallelStyle, parts: int, rows: int, columns: int) -> None:
    """Of a matrix in parts, of a vector (a bias) too where its outputs are cut; what is not cut is whole everywhere."""
    for shape in ((rows * parts, columns * parts), (rows * parts,)):
        boxes = [shard(shape, split, parts, rank) for rank in range(parts)]
        if split == "replicated" or (split == "row" and len(shape) == 1):
            assert boxes == [whole(shape)] * parts
        else:
            assert tiles(whole(shape), boxes)
            assert len({box.shape for box in boxes}) == 1


def test_column_and_row_cuts() -> None:
    assert shard((8, 6), "column", 2, 1) == Box((4, 0), (4, 6))
    assert shard((8, 6), "vocabulary", 4, 3) == Box((6, 0), (2, 6))
    assert shard((8, 6), "row", 2, 1) == Box((0, 3), (8, 3))


def test_an_uneven_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="a vocabulary dimension of 257 cannot be split into 2 equal parts; choose"):
        shard((257, 8), "vocabulary", 2, 0)


@given(blocks=st.integers(1, 50), pipeline=st.integers(1, 8))
def test_stages_hold_every_block_once(blocks: int, pipeline: int) -> None:
    if blocks < pipeline:
        with pytest.raises(ValueError, match=f"{blocks} blocks cannot fill a pipeline of {pipeline} stages"):
            stage_blocks(blocks, pipeline, 0)
        return
    stages = [stage_blocks(blocks, pipeline, stage) for stage in range(pipeline)]
    assert list(itertools.chain(*stages)) == list(range(blocks))
    sizes = [len(stage) for stage in stages]
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("pipeline", "data", "tensor"), [(1, 1, 1), (2, 1, 2), (1, 2, 2), (2, 3, 2), (3, 2, 4)])
def test_ranks_stand_where_deepspeed_puts_them(pipeline: int, data: int, tensor: int) -> None:
    from deepspeed.runtime.pipe.topology import PipeModelDataParallelTopology

    layout = Layout(engine="deepspeed", pipeline=pipeline, data=data, tensor=tensor)
    topology = PipeModelDataParallelTopology(num_pp=pipeline, num_mp=tensor, num_dp=data)
    for rank in range(layout.ranks):
        coordinate = topology.get_coord(rank)
        assert coordinates_of(rank, layout) == MeshCoordinates(coordinate.pipe, coordinate.data, coordinate.model)


def stages_of(architecture: str, layout: Layout, seed: int | None) -> list[Stage]:
    """The stages of all ranks, in this one process; they cannot compute."""
    places = [coordinates_of(rank, layout) for rank in range(layout.ranks)]
    config = model_config(SHAPES[architecture])
    groups: Any = [SimpleNamespace(coordinates=place, tensor=None) for place in places]
    return [Stage(config, layout, one, seed) for one in groups]


@pytest.mark.parametrize(("pipeline", "data", "tensor"), [(1, 1, 4), (2, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("architecture", SHAPES)
def test_the_stages_hold_the_model_once(architecture: str, pipeline: int, data: int, tensor: int) -> None:
    """What the ranks of a replica own is every element once, and starts as in one process, bit for bit."""
    layout = Layout(engine="deepspeed", pipeline=pipeline, data=data, tensor=tensor)
    reference = dict(Stage(model_config(SHAPES[architecture]), Layout(), seed=5).named())
    owned: dict[tuple[int, str], list[Box]] = defaultdict(list)
    for rank, stage in enumerate(stages_of(architecture, layout, seed=5)):
        assert stage.shards.keys() == {name for name, _ in stage.named()}
        for name, parameter in stage.named():
            held, expected = stage.shards[name], reference[name]
            assert held.shape == expected.shape
            assert torch.equal(parameter, expected[held.box.inside(whole(held.shape))])
            # DeepSpeed adds these up over the tensor ranks.
            assert parameter.model_parallel == (held.box != whole(held.shape))  # type: ignore[attr-defined]
            if held.owned:
                owned[coordinates_of(rank, layout).data, name].append(held.box)
    for replica, (name, parameter) in itertools.product(range(data), reference.items()):
        assert tiles(whole(tuple(parameter.shape)), owned[replica, name]), name


def test_a_tied_parameter_is_on_both_ends() -> None:
    layout = Layout(engine="deepspeed", pipeline=2)
    first, last = stages_of("opt", layout, seed=1)
    assert first.tied is not None and last.tied is not None and torch.equal(first.tied, last.tied)
    assert [stage.shards["embedding.tokens.weight"].owned for stage in (first, last)] == [True, False]
    assert all(stage.tied is None for stage in stages_of("pythia", layout, seed=1))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two ranks found, in rank order."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(launched.find, args=(str(folder),), nprocs=launched.RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(launched.RANKS)]


def joined(found: list[dict[str, Any]], experiment: str, name: str, dimension: int | None) -> Tensor:
    """The parts of a tensor along a dimension, or, with None, what all ranks have alike."""
    parts = [one[experiment][name] for one in found]
    if dimension is not None:
        return torch.cat(parts, dimension)
    assert all(torch.equal(one, parts[0]) for one in parts)
    whole_one: Tensor = parts[0]
    return whole_one


def close(tensor: Tensor, reference: Tensor | None) -> bool:
    """max |Δ| against max |reference|."""
    assert reference is not None and tensor.shape == reference.shape
    return bool((tensor - reference).abs().max() <= TOLERANCE * reference.abs().max())


# Along which dimension the ranks have parts of the output, and of the gradients of input, weight and bias.
JOINTS: dict[str, tuple[int | None, int | None, int | None, int | None]] = {
    "column, whole": (2, None, 0, 0),
    "column, sequence": (2, 1, 0, 0),
    "row, whole": (None, 2, 1, None),
    "row, sequence": (1, 2, 1, None),
}


@pytest.mark.parametrize("experiment", JOINTS)
def test_linear_layers_on_two_ranks(found: list[dict[str, Any]], experiment: str) -> None:
    """Against one `nn.Linear`: outputs, and gradients of inputs, weights and biases."""
    x = launched.sequences().requires_grad_()
    layer = nn.Linear(launched.INPUTS, launched.OUTPUTS)
    with torch.no_grad():
        layer.weight.copy_(launched.values(*layer.weight.shape, seed=4))
        layer.bias.copy_(launched.values(*layer.bias.shape, seed=5))
    y = layer(x)
    y.backward(launched.values(*y.shape, seed=6))
    over_y, over_x, over_weight, over_bias = JOINTS[experiment]
    assert close(joined(found, experiment, "y", over_y), y.detach())
    assert close(joined(found, experiment, "x", over_x), x.grad)
    assert close(joined(found, experiment, "weight", over_weight), layer.weight.grad)
    if experiment == "row, sequence":
        # Each rank has seen its part of the sequence; the stage adds the parts up.
        assert close(found[0][experiment]["bias"] + found[1][experiment]["bias"], layer.bias.grad)
    else:
        assert close(joined(found, experiment, "bias", over_bias), layer.bias.grad)


def test_products_of_one_input_share_its_exchange(found: list[dict[str, Any]]) -> None:
    first, second = (
        launched.values(launched.OUTPUTS, launched.INPUTS, seed=seed).requires_grad_() for seed in (11, 12)
    )
    x, other = launched.sequences().requires_grad_(), launched.values(2, 6, launched.INPUTS, seed=13).requires_grad_()
    y, z = functional.linear(x, first) + functional.linear(x, second), functional.linear(other, first)
    (y.sum() + z.sum()).backward()
    assert all(one["shared exchange"]["once"] for one in found)
    for name, dimension, reference in (
        ("y", 2, y.detach()),
        ("z", 2, z.detach()),
        ("x", 1, x.grad),
        ("other", 1, other.grad),
        ("first", 0, first.grad),
        ("second", 0, second.grad),
    ):
        assert close(joined(found, "shared exchange", name, dimension), reference), name


def test_embedding_on_two_ranks(found: list[dict[str, Any]]) -> None:
    weight = launched.values(launched.VOCABULARY, launched.INPUTS, seed=7).requires_grad_()
    y = functional.embedding(launched.word_ids(), weight)
    y.backward(launched.values(*y.shape, seed=8))
    assert torch.equal(joined(found, "embedding", "y", None), y.detach())
    assert close(joined(found, "embedding", "weight", 0), weight.grad)


def test_loss_on_two_ranks(found: list[dict[str, Any]]) -> None:
    """Against torch's cross-entropy of whole logits, with its gradient; in bf16 the sums are in fp32 too."""
    logits, labels = launched.logits().requires_grad_(), launched.word_ids().flatten()
    value = functional.cross_entropy(logits.flatten(0, 1), labels)
    value.backward()
    assert logits.detach().exp().isinf().any()
    assert close(joined(found, "loss", "y", None), value.detach())
    assert close(joined(found, "loss", "logits", 2), logits.grad)
    narrow = joined(found, "narrow loss", "y", None).detach()
    assert narrow.dtype == torch.float32
    assert close(narrow, functional.cross_entropy(logits.detach().bfloat16().float().flatten(0, 1), labels))


def test_what_the_exchanges_give(found: list[dict[str, Any]]) -> None:
    xs = {name: [one["exchanges"][name]["x"] for one in found] for name in found[0]["exchanges"]}
    ys = {name: [one["exchanges"][name]["y"] for one in found] for name in found[0]["exchanges"]}
    for rank in range(launched.RANKS):
        assert torch.equal(ys["copied"][rank], xs["copied"][rank])
        assert torch.equal(ys["summed"][rank], sum(xs["summed"]))
        assert torch.equal(ys["gathered"][rank], torch.cat(xs["gathered"], 1))
        assert torch.equal(ys["scattered"][rank], sum(xs["scattered"]).chunk(2, 1)[rank])
        assert torch.equal(ys["portioned"][rank], xs["portioned"][rank].chunk(2, 1)[rank])


@pytest.mark.parametrize("name", ["gathered", "scattered"])
def test_gradients_of_exchanges_are_their_transposes(found: list[dict[str, Any]], name: str) -> None:
    """Σ <exchange(x), y> = Σ <x, gradient> over the ranks, for exchanges whose results differ from rank to rank."""
    pieces = [one["exchanges"][name] for one in found]
    left = sum((one["y"].double() * one["over"].double()).sum() for one in pieces)
    right = sum((one["x"].double() * one["gradient"].double()).sum() for one in pieces)
    assert torch.isclose(left, right, rtol=1e-6)


def test_gradients_of_what_all_ranks_have_alike(found: list[dict[str, Any]]) -> None:
    """`copied` adds the ranks' gradients up; `summed` passes the gradient on; `portioned` puts the parts together."""
    overs = {name: [one["exchanges"][name]["over"] for one in found] for name in found[0]["exchanges"]}
    for rank in range(launched.RANKS):
        gradients = {name: one["gradient"] for name, one in found[rank]["exchanges"].items()}
        assert torch.equal(gradients["copied"], sum(overs["copied"]))
        assert torch.equal(gradients["summed"], overs["summed"][rank])
        assert torch.equal(gradients["portioned"], torch.cat(overs["portioned"], 1))


def test_groups_of_two_ranks(found: list[dict[str, Any]]) -> None:
    both = [0, 1]
    for rank in both:
        me = [rank]
        assert found[rank]["memberships"] == {
            "data": {"data": both, "tensor": me, "model": me, "ends": me},
            "tensor": {"data": me, "tensor": both, "model": both, "ends": me},
            "pipeline": {"data": me, "tensor": me, "model": both, "ends": both},
        }


def test_hooks_add_up_what_sequence_parallelism_cuts(found: list[dict[str, Any]]) -> None:
    """Norms and row-parallel biases see a part of the sequence. Without the hooks these are wrong, and no others."""
    for rank in range(launched.RANKS):
        with_hooks, without, expected = (found[rank]["hooks"][name] for name in ("with", "without", "expected"))
        assert all(close(with_hooks[name], gradient) for name, gradient in expected.items())
        wrong = {name for name, gradient in expected.items() if not close(without[name], gradient)}
        row_biases = ("attention.output.bias", "feed_forward.down.bias")
        assert wrong == {name for name in expected if "norm." in name or name.endswith(row_biases)}


@pytest.mark.parametrize("architecture", SHAPES)
def test_recomputation_changes_no_bit(architecture: str) -> None:
    """Losses and gradients are the same, with dropout too, and less is kept when whole blocks are computed again."""
    dropout = {"dropout": 0.1, "attention_dropout": 0.1} if architecture.startswith("opt") else {}
    config = model_config(SHAPES[architecture] | dropout)
    tokens = torch.randint(250, (2, 33), generator=torch.Generator().manual_seed(3))
    found, kept = [], []
    for recompute in ("none", "selective", "whole"):
        stage = Stage(config, Layout(recompute=recompute), seed=1)
        torch.manual_seed(4)
        storages: dict[int, int] = {}

        def note(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = stage.loss(stage(tokens[:, :-1]), tokens)
        loss.backward()
        gradients = [parameter.grad for _, parameter in stage.named() if parameter.grad is not None]
        assert len(gradients) == len(stage.shards)
        found.append([loss.detach(), *gradients])
        kept.append(sum(storages.values()))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    assert kept[0] > kept[2]
