"""The whole step in one process of plain PyTorch: the reference of every parity test, and the engine for one GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.engine import DTYPES, MOMENTS, Engine, decay_groups, moved
from model.optim.adamw import AdamWConfig
from model.optim.precision import Precision
from model.parallel.ranks import MeshCoordinates
from model.parallel.stage import Stage
from model.state.boxes import whole
from model.state.slices import ReadState, Slice


class NativeEngine(Engine):
    """Weights, gradients and moments in fp32; with another precision, matmuls use a cast copy of the weights."""

    def __init__(self, stage: Stage, config: AdamWConfig, precision: Precision = "fp32") -> None:
        self.rank, self.ranks, self.coordinates = 0, 1, MeshCoordinates(0, 0, 0)
        device = stage.layout.device
        self.stage, self._device = stage, torch.device(device)
        self._cast = precision != "fp32"
        # In fp32 the masters are the model's own parameters.
        self._masters: dict[str, nn.Parameter] = {}

        def take(name: str, parameter: nn.Parameter) -> None:
            self._masters[name] = nn.Parameter(parameter.detach()) if self._cast else parameter
            parameter.data = parameter.data.to(DTYPES[precision])

        stage.place(self._device, torch.float32, take)
        stage.to(DTYPES[precision])
        self._computed = dict(stage.named())
        # Compile only on a GPU, where the kernels are worth the compile time.
        self._loss = torch.compile(self._loss_of) if device == "cuda" else self._loss_of
        self._optimizer = torch.optim.AdamW(
            decay_groups(self._masters.values(), config),
            lr=0.0,
            betas=config.betas,
            eps=config.epsilon,
            fused=device == "cuda",
        )

    def accumulate(self, micro_batches: Sequence[Tensor]) -> float:
        self.stage.train()
        self.discard()
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for tokens in micro_batches:
            self.on_micro_batch()
            loss = self._loss(moved(tokens, self._device))
            (loss * (self.loss_scale / len(micro_batches))).backward()
            self._collect()
            total += loss.detach()
        gradients = [master.grad for master in self._masters.values() if master.grad is not None]
        assert len(gradients) == len(self._masters)
        if self.loss_scale != 1.0:
            torch._foreach_mul_(gradients, 1.0 / self.loss_scale)
        self._norm = nn.utils.get_total_norm(gradients)
        # One transfer for both: each makes the CPU wait until the GPU has finished its queue.
        summed, self._fetched_norm = torch.stack([total, self._norm.double()]).tolist()
        return float(summed) / len(micro_batches)

    def gradient_norm(self) -> float:
        return self._fetched_norm

    def update(self, learning_rate: float, clip: float) -> None:
        nn.utils.clip_grads_with_norm_(self._masters.values(), clip, self._norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._copy_to_computed()

    def discard(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self.stage.zero_grad(set_to_none=True)

    @torch.no_grad()
    def evaluate(self, micro_batches: Sequence[Tensor]) -> float:
        self.stage.eval()
        total = 0.0
        for tokens in micro_batches:
            self.on_micro_batch()
            total += self._loss(moved(tokens, self._device)).item()
        return total / len(micro_batches)

    def gradients(self) -> Iterator[Slice]:
        for name, master in self._masters.items():
            assert master.grad is not None, f"{name} has no gradient; the loss does not depend on it"
            yield self._slice(name, "weight", master.grad)

    def state(self) -> Iterator[Slice]:
        for name, master in self._masters.items():
            yield self._slice(name, "weight", master.detach())
            held = self._optimizer.state.get(master, {})
            for kind, key in MOMENTS:
                # AdamW creates its moments at the first update; before that they are zero.
                yield self._slice(name, kind, held[key] if key in held else torch.zeros_like(master))

    def restore(self, read: ReadState, updates: int) -> None:
        for name, master in self._masters.items():
            box = whole(tuple(master.shape))
            with torch.no_grad():
                master.copy_(read(name, "weight", box))
            moments = {key: read(name, kind, box).to(self._device, copy=True) for kind, key in MOMENTS}
            # A fused optimizer keeps its update count on the device.
            counted = torch.tensor(float(updates), device=self._device if self._device.type == "cuda" else "cpu")
            self._optimizer.state[master] = {"step": counted, **moments}
        self._copy_to_computed()

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def anyone(self, wants: bool) -> bool:
        return wants

    def close(self) -> None:
        return None

    def _loss_of(self, tokens: Tensor) -> Tensor:
        return self.stage.loss(self.stage(tokens[:, :-1]), tokens)

    def _collect(self) -> None:
        """Add the gradients of the cast copy to the masters' gradients, in fp32."""
        if not self._cast:
            return
        for name, parameter in self._computed.items():
            assert parameter.grad is not None, f"{name} has no gradient; the loss does not depend on it"
            master, gradient = self._masters[name], parameter.grad
            master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
            parameter.grad = None

    @torch.no_grad()
    def _copy_to_computed(self) -> None:
        if self._cast:
            torch._foreach_copy_(list(self._computed.values()), list(self._masters.values()))

    def _slice(self, name: str, kind: Any, values: Tensor) -> Slice:
        shape = tuple(values.shape)
        return Slice(name, kind, shape, whole(shape), values)
