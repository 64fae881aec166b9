"""What each of two ranks finds for `test_parallel.py`: outputs and gradients of the tensor-parallel layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from model.architectures.cross_entropy import cross_entropy
from model.architectures.registry import model_config
from model.layout import Layout
from model.parallel.collectives import copied, gathered, portioned, scattered, summed
from model.parallel.layers import ColumnLinear, Exchange, RowLinear, VocabularyEmbedding
from model.parallel.ranks import Groups
from model.parallel.stage import Stage
from model.state.boxes import whole
from tests.model.support.small import SHAPES

RANKS = 2
BATCH, SEQUENCE, INPUTS, OUTPUTS, VOCABULARY = 2, 6, 8, 12, 10
Found = dict[str, Any]


def find(rank: int, folder: str) -> None:
    """One rank's program; what it found goes into a file of its own."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    found = {name: run(distributed.group.WORLD, rank) for name, run in EXPERIMENTS.items()}
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def values(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    """Normal numbers, the same on every rank."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def sequences() -> Tensor:
    """What enters a layer, whole."""
    return values(BATCH, SEQUENCE, INPUTS, seed=1)


def word_ids() -> Tensor:
    """(B, S) with words of both ranks, the first and the last of each among them."""
    ids = torch.randint(VOCABULARY, (BATCH, SEQUENCE), generator=torch.Generator().manual_seed(2))
    ids[0, :4] = torch.tensor([0, VOCABULARY // 2 - 1, VOCABULARY // 2, VOCABULARY - 1])
    return ids


def logits() -> Tensor:
    """Large ones: without the largest taken off, their exponentials would overflow fp32."""
    return values(BATCH, SEQUENCE, VOCABULARY, seed=3, scale=100.0)


def part(x: Tensor, rank: int, dimension: int) -> Tensor:
    """This rank's part of a tensor, to be differentiated."""
    return x.chunk(RANKS, dimension)[rank].clone().requires_grad_()


def linear(kind: str, sequence: bool) -> Callable[[Any, int], Found]:
    """A column- or row-parallel layer with bias; the gradient of its output is given, whole or this rank's part."""

    def run(group: Any, rank: int) -> Found:
        weight, bias = values(OUTPUTS, INPUTS, seed=4), values(OUTPUTS, seed=5)
        over = values(BATCH, SEQUENCE, OUTPUTS, seed=6)
        layer: nn.Module
        if kind == "column":
            x = part(sequences(), rank, 1) if sequence else sequences().requires_grad_()
            exchange = Exchange(group, sequence)
            layer = ColumnLinear(nn.Parameter(part(weight, rank, 0)), nn.Parameter(part(bias, rank, 0)), exchange)
            over = part(over, rank, 2)
        else:
            x = part(sequences(), rank, 2)
            layer = RowLinear(nn.Parameter(part(weight, rank, 1)), nn.Parameter(bias), group, sequence)
            over = part(over, rank, 1) if sequence else over
        y = layer(x)
        y.backward(over.detach())
        gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
        return {"y": y.detach(), "x": x.grad, **gradients}

    return run


def shared_exchange(group: Any, rank: int) -> Found:
    """Two column-parallel products of one input, then one of another."""
    exchange = Exchange(group, sequence=True)
    weights = [nn.Parameter(part(values(OUTPUTS, INPUTS, seed=seed), rank, 0)) for seed in (11, 12)]
    first, second = (ColumnLinear(weight, None, exchange) for weight in weights)
    x, other = part(sequences(), rank, 1), part(values(BATCH, SEQUENCE, INPUTS, seed=13), rank, 1)
    once = exchange(x) is exchange(x)
    y = first(x) + second(x)
    z = first(other)
    (y.sum() + z.sum()).backward()
    gradients = {"x": x.grad, "other": other.grad, "first": weights[0].grad, "second": weights[1].grad}
    return {"once": once, "y": y.detach(), "z": z.detach(), **gradients}


def embedding(group: Any, rank: int) -> Found:
    """Words of which this rank holds half."""
    weight = nn.Parameter(part(values(VOCABULARY, INPUTS, seed=7), rank, 0))
    layer = VocabularyEmbedding(weight, rank * VOCABULARY // RANKS, group)
    y = layer(word_ids())
    y.backward(values(BATCH, SEQUENCE, INPUTS, seed=8))
    return {"y": y.detach(), "weight": weight.grad}


def loss(group: Any, rank: int) -> Found:
    """Cross-entropy of half of the logits."""
    mine = part(logits(), rank, 2)
    value = cross_entropy(mine, word_ids(), group)
    value.backward()
    return {"y": value.detach(), "logits": mine.grad}


def narrow_loss(group: Any, rank: int) -> Found:
    """The same of logits in bf16."""
    return {"y": cross_entropy(part(logits(), rank, 2).bfloat16(), word_ids(), group)}


def exchanges(group: Any, rank: int) -> Found:
    """Both sides of <exchange(x), y> = <x, gradient>: each exchange with what autograd takes for its transpose."""
    found: Found = {}
    for number, exchange in enumerate((copied, summed, gathered, scattered, portioned)):
        x = values(BATCH, SEQUENCE, INPUTS, seed=20 + number + 10 * rank).requires_grad_()
        y = exchange(x, group)
        over = values(*y.shape, seed=50 + number + 10 * rank)
        y.backward(over)
        found[exchange.__name__] = {"x": x.detach(), "y": y.detach(), "over": over, "gradient": x.grad}
    return found


def memberships(group: Any, rank: int) -> Found:
    """The ranks of this one's groups under each layout of two."""
    found: Found = {}
    for direction in ("data", "tensor", "pipeline"):
        groups = Groups(Layout(engine="deepspeed", **{direction: RANKS}))  # type: ignore[arg-type]
        members = {name: getattr(groups, name) for name in ("data", "tensor", "model", "ends")}
        found[direction] = {name: distributed.get_process_group_ranks(one) for name, one in members.items()}
    return found


def hooks(group: Any, rank: int) -> Found:
    """Gradients of a stage under sequence parallelism, and what they are without its hooks."""
    layout = Layout(engine="deepspeed", tensor=RANKS, sequence_parallel=True)
    config = model_config(SHAPES["pythia"])
    tokens = torch.randint(100, (2, 33), generator=torch.Generator().manual_seed(9))
    found: Found = {}
    for name in ("with", "without"):
        stage = Stage(config, layout, Groups(layout), seed=1)
        if name == "without":
            for parameter in stage.parameters():
                parameter._backward_hooks = None
        stage.loss(stage(tokens[:, :-1]), tokens).backward()
        found[name] = {logical: parameter.grad for logical, parameter in stage.named()}
    boxes = {name: one.box for name, one in stage.shards.items()}
    reference = Stage(config, Layout(), seed=1)
    reference.loss(reference(tokens[:, :-1]), tokens).backward()
    expected = dict(reference.named())
    found["expected"] = {
        name: one.grad[boxes[name].inside(whole(tuple(one.shape)))]  # type: ignore[index]
        for name, one in expected.items()
    }
    return found


EXPERIMENTS: dict[str, Callable[[Any, int], Found]] = {
    **{
        f"{kind}, {'sequence' if sequence else 'whole'}": linear(kind, sequence)
        for kind in ("column", "row")
        for sequence in (False, True)
    },
    "shared exchange": shared_exchange,
    "embedding": embedding,
    "loss": loss,
    "narrow loss": narrow_loss,
    "exchanges": exchanges,
    "memberships": memberships,
    "hooks": hooks,
}
