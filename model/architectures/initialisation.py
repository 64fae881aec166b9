"""Initial weights, keyed by seed and parameter name, so that they do not depend on the layout."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

Fill = Callable[[Tensor, torch.Generator], None]


@torch.no_grad()
def initialise(model: nn.Module, fill_of: Callable[[str], Fill], seed: int) -> None:
    """Fill every parameter of `model` in place with `fill_of(name)`."""
    for name, parameter in model.named_parameters():
        fill_of(name)(parameter, keyed_generator(seed, name))


def keyed_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator whose stream depends only on `seed` and `name`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def normal(sigma: float) -> Fill:
    """Fill with N(0, sigma²)."""

    def fill(tensor: Tensor, generator: torch.Generator) -> None:
        tensor.normal_(0.0, sigma, generator=generator)

    return fill


def but_row(fill: Fill, row: int) -> Fill:
    """Fill with zero in one row, and with `fill` elsewhere."""

    def fill_rest(tensor: Tensor, generator: torch.Generator) -> None:
        fill(tensor, generator)
        tensor[row] = 0.0

    return fill_rest


def ones(tensor: Tensor, generator: torch.Generator) -> None:
    """Fill with one."""
    tensor.fill_(1.0)


def zeros(tensor: Tensor, generator: torch.Generator) -> None:
    """Fill with zero."""
    tensor.zero_()
