"""A rank's part of a model: its stage's embedding, blocks and head, sharded for its tensor rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.architectures.architecture import ModelConfig
from model.architectures.context import Context, packed, positions_in_documents
from model.architectures.cross_entropy import cross_entropy
from model.architectures.layers import ParallelStyle
from model.architectures.registry import ARCHITECTURES, architecture_name, build_empty, initial_state
from model.layout import Layout
from model.parallel.collectives import all_reduced, portioned
from model.parallel.cuts import shard, stage_blocks
from model.parallel.layers import ColumnLinear, Exchange, RowLinear, VocabularyEmbedding
from model.parallel.ranks import Groups, MeshCoordinates
from model.parallel.recompute import run_block
from model.state.boxes import Box, whole
from model.state.slices import ReadState


@dataclass(frozen=True)
class Shard:
    """The part `box` of a tensor of `shape` that a rank holds.

    Exactly one stage owns it, and if it is replicated, one tensor rank. The data ranks of the owner write it in parts.
    """

    shape: tuple[int, ...]
    box: Box
    owned: bool


class Stage(nn.Module):
    """A rank's part of the model. `shards` maps the logical names of its parameters to the parts that it holds.

    The first stage takes token ids (B, S). The others take the residual stream (B, S, d) of the previous stage, with
    document numbers (B, S) if attention ends at document boundaries. The last returns logits (B, S, vocabulary of this
    tensor rank).

    With a `seed`, the parameters are initialised, in fp32 on the CPU. Without one, they take no memory until `place`.
    """

    def __init__(
        self,
        config: ModelConfig,
        layout: Layout,
        groups: Groups | None = None,
        seed: int | None = None,
        end_of_document: int | None = None,
    ) -> None:
        super().__init__()
        self.config, self.layout, self.end_of_document = config, layout, end_of_document
        coordinates = MeshCoordinates(0, 0, 0) if groups is None else groups.coordinates
        self.group = None if groups is None or layout.tensor == 1 else groups.tensor
        self.first, self.last = coordinates.stage == 0, coordinates.stage == layout.pipeline - 1
        self._architecture = ARCHITECTURES[architecture_name(config)]
        model = build_empty(config, "meta")
        names = _canonical_names(model)
        if self.first:
            self.embedding = model.embedding
        blocks = stage_blocks(config.layers, layout.pipeline, coordinates.stage)
        self.layers = nn.ModuleDict({str(number): model.layers[number] for number in blocks})  # type: ignore[index]
        if self.last:
            self.head = model.head
        self.shards: dict[str, Shard] = {}
        self._fill(names, coordinates, None if seed is None else initial_state(config, seed))
        self._shared = {logical for name, logical in names.items() if logical != name and layout.pipeline > 1}

    @property
    def tied(self) -> nn.Parameter | None:
        """On the first and last stage of a pipeline, the parameter tied between them; otherwise None."""
        return next((parameter for name, parameter in self.named() if name in self._shared), None)

    def forward(self, given: Any) -> Any:
        x, documents = given if isinstance(given, tuple) else (given, None)
        if not self.first:
            context = Context() if documents is None else Context(positions_in_documents(documents), documents)
        else:
            context = Context() if self.end_of_document is None else packed(given, self.end_of_document)
            x = self.embedding(given, context)
            if self.layout.sequence_parallel:
                x = portioned(x, self.group)
        for block in self.layers.values():
            x = run_block(block, x, context, self.layout.recompute)
        if self.last:
            return self.head(x)
        return x if context.documents is None else (x, context.documents)

    def loss(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Mean cross-entropy in nats of the logits for tokens[:, :-1]; `tokens` is (B, S + 1), int64.

        The end-of-document token counts as a label (GPT-NeoX, `eod_mask_loss` false).
        """
        return cross_entropy(logits, tokens[:, 1:], self.group)

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """This rank's parameters with their logical names, each once."""
        for name, parameter in self.named_parameters():
            yield self._logical[name], parameter

    def place(
        self, device: torch.device, dtype: torch.dtype, placed: Callable[[str, nn.Parameter], None] | None = None
    ) -> None:
        """Move parameters to the device and dtype, and buffers to the device. Without a seed, parameters are zero.

        `placed(name, parameter)` is called after each parameter, before the next one takes memory.
        """
        for name, parameter in self.named():
            parameter.data = parameter.data.to(device, dtype).contiguous()
            if placed is not None:
                placed(name, parameter)
        for buffer in self.buffers():
            buffer.data = buffer.data.to(device)

    def _fill(self, logical: dict[str, str], coordinates: MeshCoordinates, initial: ReadState | None) -> None:
        """Replace the empty parameters with this rank's shards, and plain layers with parallel ones."""
        names = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        self._logical = {name: logical[name] for name in names}
        made: dict[str, nn.Parameter] = {}
        for name in names:
            module_name, _, attribute = name.rpartition(".")
            module = self.get_submodule(module_name)
            if logical[name] not in made:
                split = self._architecture.split(logical[name].rpartition(".")[0])
                made[logical[name]] = self._parameter(name, getattr(module, attribute), split, coordinates, initial)
            setattr(module, attribute, made[logical[name]])
        if self.layout.tensor > 1:
            self._exchange = Exchange(self.group, self.layout.sequence_parallel)
            for name in sorted({name.rpartition(".")[0] for name in names}):
                self._replace(name, self._architecture.split(name))

    def _parameter(
        self, name: str, empty: Tensor, split: ParallelStyle, coordinates: MeshCoordinates, initial: ReadState | None
    ) -> nn.Parameter:
        logical, shape = self._logical[name], tuple(empty.shape)
        box = shard(shape, split, self.layout.tensor, coordinates.tensor)
        cut = box != whole(shape)
        # Replicated parameters are written by the first tensor rank, tied ones by the first stage.
        owned = (cut or coordinates.tensor == 0) and (logical == name or self.first)
        self.shards[logical] = Shard(shape, box, owned)
        # An expanded scalar takes no memory. A parameter on the meta device could not be moved to another device.
        values = torch.zeros(()).expand(box.shape) if initial is None else initial(logical, "weight", box).clone()
        parameter = nn.Parameter(values)
        # DeepSpeed sums the norm of sharded parameters over the tensor ranks and counts others on the first rank only.
        parameter.model_parallel = cut  # type: ignore[attr-defined]
        return parameter

    def _replace(self, name: str, split: ParallelStyle) -> None:
        module, sequence = self.get_submodule(name), self.layout.sequence_parallel
        parent_name, _, last = name.rpartition(".")
        parent = self.get_submodule(parent_name)
        held = dict(module.named_parameters(recurse=False))
        weight, bias = held["weight"], held.get("bias")
        if split == "replicated":
            if sequence and not name.startswith("embedding."):
                # Each rank computes on its part of the sequence, so its gradient is a partial sum.
                for parameter in module.parameters(recurse=False):
                    parameter.register_hook(self._sum_over_tensor_ranks)
        elif isinstance(module, nn.Embedding):
            first = self.shards[self._logical[f"{name}.weight"]].box.start[0]
            setattr(parent, last, VocabularyEmbedding(weight, first, self.group))
        else:
            made = RowLinear(weight, bias, self.group, sequence) if split == "row" else None
            setattr(parent, last, made or ColumnLinear(weight, bias, self._exchange))
            if sequence and split == "row" and bias is not None:
                bias.register_hook(self._sum_over_tensor_ranks)

    def _sum_over_tensor_ranks(self, gradient: Tensor) -> Tensor:
        return all_reduced(gradient, self.group)


def _canonical_names(model: nn.Module) -> dict[str, str]:
    """Maps every parameter name to its logical name: the first of the two names of a tied parameter."""
    first: dict[nn.Parameter, str] = {}
    return {name: first.setdefault(held, name) for name, held in model.named_parameters(remove_duplicate=False)}
