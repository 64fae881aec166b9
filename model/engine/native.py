"""One process of plain PyTorch: the oracle that other engines are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.engine import MOMENTS, AdamWConfig, Engine, ReadState, Slice, decay_groups
from model.layers import next_token_loss


class NativeEngine(Engine):
    """The whole step on one rank."""

    def __init__(self, model: nn.Module, config: AdamWConfig) -> None:
        self.model, self.rank, self.ranks = model, 0, 1
        self._clip = config.clip
        self._optimizer = torch.optim.AdamW(decay_groups(model, config), lr=0.0, betas=config.betas, eps=config.epsilon)

    def accumulate(self, micro_batches: Sequence[Tensor]) -> float:
        self.model.train()
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for tokens in micro_batches:
            loss = next_token_loss(self.model(tokens[:, :-1]), tokens)
            (loss / len(micro_batches)).backward()
            total += loss.item()
        return total / len(micro_batches)

    def update(self, learning_rate: float) -> float:
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        return norm.item()

    def gradients(self) -> Iterator[Slice]:
        for name, parameter in self.model.named_parameters():
            assert parameter.grad is not None, f"{name} took no part in the loss"
            yield Slice(name, "weight", tuple(parameter.shape), 0, parameter.grad.flatten())

    def state(self) -> Iterator[Slice]:
        for name, parameter in self.model.named_parameters():
            shape, values = tuple(parameter.shape), parameter.detach().flatten()
            yield Slice(name, "weight", shape, 0, values)
            held = self._optimizer.state.get(parameter, {})
            for kind, key in MOMENTS:
                # AdamW makes its moments at the first update; before it they are zero.
                yield Slice(name, kind, shape, 0, held[key].flatten() if key in held else torch.zeros_like(values))

    def restore(self, read: ReadState, updates: int) -> None:
        for name, parameter in self.model.named_parameters():
            with torch.no_grad():
                parameter.copy_(read(name, "weight", 0, parameter.numel()).view_as(parameter))
            moments = {key: read(name, kind, 0, parameter.numel()).view_as(parameter).clone() for kind, key in MOMENTS}
            self._optimizer.state[parameter] = {"step": torch.tensor(float(updates)), **moments}

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def close(self) -> None:
        return None
