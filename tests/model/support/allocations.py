"""What tensors take, seen from below: every storage that an operation makes, for as long as anything holds it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Within this context, `live()` counts the bytes of storages that are alive and `peak` is the largest seen.

    Storages of the tensors in `known` do not count, nor those on the device "meta", which hold nothing.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.known = {StorageWeakRef(one.untyped_storage()).cdata for one in known}
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference.cdata not in self.known:
                    self.held[reference.cdata] = (reference, storage.nbytes())
        self.peak = max(self.peak, self.live())
        return result

    def live(self) -> int:
        self.held = {key: held for key, held in self.held.items() if not held[0].expired()}
        return sum(size for _, size in self.held.values())
