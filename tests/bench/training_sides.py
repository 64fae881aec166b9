"""The two sides of the training benchmark: our native engine, and a plain step around another model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from model.architectures.architecture import ModelConfig
from model.engine import DTYPES
from model.engine.native import NativeEngine
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.optim.precision import Precision
from model.parallel.shapes import whole_shapes
from model.parallel.stage import Stage

OPTIMIZER = AdamWConfig(betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1, clip=1.0)
LEARNING_RATE = 2e-4
SEED = 1234
# Of the products of the benchmark's weights with inputs of deviation 1; of its biases, and of its norms around 1.
PRODUCTS_DEVIATION, VECTORS_DEVIATION = 1.5, 0.25


@dataclass(frozen=True)
class Case:
    """One model and its micro-batches of `micro_batch` sequences of `sequence_length` predicted tokens."""

    name: str
    config: ModelConfig
    sequence_length: int
    micro_batch: int
    precision: Precision
    device: Literal["cpu", "cuda"]

    @property
    def layout(self) -> Layout:
        """How our side executes it."""
        return Layout(micro_batch=self.micro_batch, device=self.device)

    def tokens(self, accumulation: int) -> int:
        """Tokens of a step of that many micro-batches."""
        return self.sequence_length * self.micro_batch * accumulation

    def batch(self, accumulation: int) -> list[Tensor]:
        """Random tokens of a step, (B, S + 1), int64, for each micro-batch; always the same."""
        generator = torch.Generator().manual_seed(SEED)
        shape = (accumulation, self.micro_batch, self.sequence_length + 1)
        return list(torch.randint(self.config.vocabulary, shape, generator=generator).to(self.device))


@dataclass(frozen=True)
class Side:
    """One way to take training steps: `train` takes a step on micro-batches (B, S + 1) and gives the loss before its
    update. `deterministic` says which kernels it asks for.
    """

    name: str
    train: Callable[[Sequence[Tensor]], float]
    deterministic: bool = False

    def step(self, batch: Sequence[Tensor]) -> float:
        """Take a step, with the kernels of this side."""
        torch.use_deterministic_algorithms(self.deterministic)
        return self.train(batch)


@dataclass(frozen=True)
class Model:
    """Somebody else's model. `logits` takes tokens (B, S) and gives (B, S, V); `convert` gives tensors by our logical
    names, weights or their gradients, the names and the order of rows that they have in `module`.
    """

    name: str
    module: nn.Module
    logits: Callable[[Tensor], Tensor]
    convert: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


class Ours:
    """The native engine, as the trainer uses it: with deterministic kernels, and without for comparison."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._engine = NativeEngine(empty_stage(case), OPTIMIZER, case.precision)
        self.begin()
        self.fast = Side("millrace", self._train)
        self.deterministic = Side("millrace, deterministic", self._train, deterministic=True)

    def begin(self) -> None:
        """Put the benchmark's weights in, as before any update."""
        weights = visible_weights(self._case)
        self._engine.restore(
            lambda name, kind, box: weights[name] if kind == "weight" else torch.zeros_like(weights[name]), updates=0
        )

    def _train(self, batch: Sequence[Tensor]) -> float:
        loss = self._engine.accumulate(batch)
        self._engine.gradient_norm()
        self._engine.update(LEARNING_RATE, OPTIMIZER.clip)
        return loss


class Peer:
    """Another model in the plainest good training step; the arithmetic is that of our engine. Takes the model over."""

    def __init__(self, model: Model, case: Case) -> None:
        self.side = Side(model.name, self._train)
        self._logits = model.logits
        model.module.zero_grad(set_to_none=True)
        model.module.train()
        self._computed = list(model.module.parameters())
        self._cast = case.precision != "fp32"
        self._masters = [nn.Parameter(one.detach().clone()) for one in self._computed] if self._cast else self._computed
        if self._cast:
            # Parameters alone: a table of rotary frequencies is fp32 in every good training step.
            for parameter in self._computed:
                parameter.data = parameter.data.to(DTYPES[case.precision])
        groups = [
            {"params": [one for one in self._masters if one.ndim >= 2], "weight_decay": OPTIMIZER.weight_decay},
            {"params": [one for one in self._masters if one.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(
            groups, lr=LEARNING_RATE, betas=OPTIMIZER.betas, eps=OPTIMIZER.epsilon, fused=case.device == "cuda"
        )
        # Model and loss in one, as on our side.
        self._loss = torch.compile(self.loss) if case.device == "cuda" else self.loss

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean cross-entropy over tokens (B, S + 1); of logits in fp32, as `transformers` and litgpt take it."""
        logits = self._logits(tokens[:, :-1]).float()
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def _train(self, batch: Sequence[Tensor]) -> float:
        total = 0.0
        for tokens in batch:
            loss = self._loss(tokens) / len(batch)
            loss.backward()
            total += loss.detach()
            if self._cast:
                self._collect()
        nn.utils.clip_grad_norm_(self._masters, OPTIMIZER.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._cast:
            with torch.no_grad():
                for computed, master in zip(self._computed, self._masters):
                    computed.copy_(master)
        return float(total)

    def _collect(self) -> None:
        """Add up gradients in fp32."""
        for computed, master in zip(self._computed, self._masters):
            assert computed.grad is not None
            if master.grad is None:
                master.grad = computed.grad.float()
            else:
                master.grad += computed.grad
            computed.grad = None


def empty_stage(case: Case) -> Stage:
    """Our whole model on the case's device, its weights zero."""
    stage = Stage(case.config, case.layout)
    stage.place(torch.device(case.device), torch.float32)
    return stage


def visible_weights(case: Case) -> dict[str, Tensor]:
    """Weights in fp32 by logical name, the same in every call, under which the whole model shows in the logits.

    At the published initialisations logits are nearly zero and the loss is ln V, whatever the blocks compute. Here
    every product has a deviation above 1, softmaxes are uneven, and no bias is 0 and no norm 1.
    """
    weights = {}
    for name, shape in whole_shapes(case.config).items():
        seed = hashlib.sha256(f"{SEED}/{name}".encode()).digest()
        generator = torch.Generator(case.device).manual_seed(int.from_bytes(seed[:7], "little"))
        values = torch.randn(shape, generator=generator, device=case.device)
        if len(shape) == 1:
            values = values.mul_(VECTORS_DEVIATION).add_(float(name.endswith("norm.weight")))
        elif not name.startswith("embedding."):
            values = values.mul_(PRODUCTS_DEVIATION / math.sqrt(shape[1]))
        weights[name] = values
    return weights
