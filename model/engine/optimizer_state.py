"""Views of the optimizer state of DeepSpeed: this rank's fp32 weights, moments and gradients.

DeepSpeed 0.19.8 has a different optimizer for each ZeRO stage. Its public `safe_get_…` functions gather whole tensors
and do nothing in some modes, so each optimizer's own fields are read. Offsets count elements of this rank's shard of a
parameter, flattened in row order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.engine import MOMENTS


@dataclass(frozen=True)
class StateView:
    """Elements [first, first + length) of a parameter's shard: 1-D fp32 views of the weight and the moments.

    This rank writes the part `owned` of it to checkpoints: (start, length), relative to `first`.
    """

    name: str
    first: int
    weight: Tensor
    moments: dict[str, Tensor]
    owned: tuple[int, int]

    @property
    def length(self) -> int:
        """The number of elements."""
        return self.weight.numel()


class OptimizerState(ABC):
    """The state of one kind of DeepSpeed optimizer. `names` maps its parameters to their logical names."""

    def __init__(self, optimizer: Any, names: dict[nn.Parameter, str]) -> None:
        self.optimizer, self.names = optimizer, names
        self.parameters = {name: parameter for parameter, name in names.items()}

    @abstractmethod
    def views(self) -> Iterator[StateView]:
        """Views of all state that this rank keeps. The moments exist after `reset` or the first update."""

    @abstractmethod
    def gradients(self) -> Iterator[tuple[str, int, Tensor]]:
        """(name, first, values) of the accumulated gradient that this rank owns, not yet unscaled."""

    @abstractmethod
    def reset(self, updates: int) -> None:
        """Set the moments to zero, creating them if needed, and set AdamW's step count to `updates`."""

    @abstractmethod
    def write_back(self, name: str, weight: Callable[[], Tensor]) -> None:
        """Copy a restored weight into the parameters used by matmuls. `weight` reads this rank's shard of it, flat."""

    @abstractmethod
    def discard(self) -> None:
        """Discard the accumulated gradient."""


class Replicated(OptimizerState):
    """No ZeRO, fp32: torch's AdamW on the model's parameters. Each data rank writes its share of them."""

    def __init__(self, optimizer: Any, names: dict[nn.Parameter, str], data_rank: int, data_ranks: int) -> None:
        super().__init__(optimizer, names)
        self._rank, self._ranks = data_rank, data_ranks

    def views(self) -> Iterator[StateView]:
        for parameter, name in self.names.items():
            state = self.optimizer.state[parameter]
            moments = {key: state[key].view(-1) for _, key in MOMENTS}
            yield StateView(name, 0, parameter.detach().view(-1), moments, self._share(parameter))

    def gradients(self) -> Iterator[tuple[str, int, Tensor]]:
        for parameter, name in self.names.items():
            start, length = self._share(parameter)
            assert parameter.grad is not None, f"{name} has no gradient; the loss does not depend on it"
            yield name, start, parameter.grad.view(-1)[start : start + length]

    def reset(self, updates: int) -> None:
        for parameter in self.names:
            _restart(self.optimizer.state[parameter], parameter.detach(), updates)

    def write_back(self, name: str, weight: Callable[[], Tensor]) -> None:
        return None

    def discard(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def _share(self, parameter: nn.Parameter) -> tuple[int, int]:
        size = -(-parameter.numel() // self._ranks)
        start = min(self._rank * size, parameter.numel())
        return start, min(size, parameter.numel() - start)


class Fragments(OptimizerState):
    """ZeRO 1 and 2 (`DeepSpeedZeroOptimizer`): parameter groups are flattened, and a rank keeps a part of each."""

    def views(self) -> Iterator[StateView]:
        for parameter, flat in self._mapped():
            mapping = parameter._hp_mapping
            address, length = mapping.lp_fragment_address, mapping.lp_fragment_address.numel
            start = mapping.get_hp_fragment_address().start
            state = self._state(flat)
            moments = {key: state[key].narrow(0, start, length) for _, key in MOMENTS}
            yield StateView(
                self.names[parameter], address.start, flat.detach().narrow(0, start, length), moments, (0, length)
            )

    def gradients(self) -> Iterator[tuple[str, int, Tensor]]:
        for group, parameters in enumerate(self.optimizer.bit16_groups):
            flat = torch.cat([piece.reshape(-1) for piece in self.optimizer.averaged_gradients[group]])
            for parameter in parameters:
                if (mapping := parameter._hp_mapping) is not None:
                    address = mapping.get_hp_fragment_address()
                    stretch = flat.narrow(0, address.start, address.numel)
                    yield self.names[parameter], mapping.lp_fragment_address.start, stretch

    def reset(self, updates: int) -> None:
        for flat in self._flats():
            _restart(self.optimizer.optimizer.state[flat], flat.detach(), updates)

    def write_back(self, name: str, weight: Callable[[], Tensor]) -> None:
        parameter = self.parameters[name]
        with torch.no_grad():
            parameter.copy_(weight().view_as(parameter))

    def discard(self) -> None:
        # The same cleanup as in DeepSpeed's `step` after an overflow.
        self.optimizer.micro_step_id = -1
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer._release_preflattened_grad_buffers()
        for group in self.optimizer.averaged_gradients:
            self.optimizer.averaged_gradients[group] = None
            self.optimizer.all_grad_tensors[group] = None

    def _groups(self) -> Any:
        return self.optimizer.bit16_groups

    def _flats(self) -> Any:
        return self.optimizer.single_partition_of_fp32_groups

    def _state(self, flat: Any) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.optimizer.optimizer.state[flat]
        return state

    def _mapped(self) -> Iterator[tuple[Any, Any]]:
        for parameters, flat in zip(self._groups(), self._flats(), strict=True):
            for parameter in parameters:
                if parameter._hp_mapping is not None:
                    yield parameter, flat


class Bfloat16Fragments(Fragments):
    """ZeRO 1 with bf16 weights and fp32 gradients (`BF16_Optimizer`); the only optimizer for a bf16 pipeline."""

    def gradients(self) -> Iterator[tuple[str, int, Tensor]]:
        partitions = self.optimizer.fp32_groups_gradient_flat_partition
        for parameters, flat in zip(self.optimizer.bf16_groups, partitions, strict=True):
            for parameter in parameters:
                if (mapping := parameter._hp_mapping) is not None:
                    address = mapping.get_hp_fragment_address()
                    stretch = flat.narrow(0, address.start, address.numel)
                    yield self.names[parameter], mapping.lp_fragment_address.start, stretch

    def discard(self) -> None:
        self.optimizer.clear_hp_grads()
        self.optimizer.clear_lp_grads()

    def _groups(self) -> Any:
        return self.optimizer.bf16_groups

    def _flats(self) -> Any:
        return self.optimizer.fp32_groups_flat_partition


class Partitions(OptimizerState):
    """ZeRO 3 (`DeepSpeedZeroOptimizer_Stage3`): each parameter is partitioned into equal parts, the last padded."""

    def views(self) -> Iterator[StateView]:
        for parameter, name in self.names.items():
            flat, start, length, first = self._place(parameter)
            state = self.optimizer.optimizer.state[flat]
            moments = {key: state[key].narrow(0, start, length) for _, key in MOMENTS}
            yield StateView(name, first, flat.detach().narrow(0, start, length), moments, (0, length))

    def gradients(self) -> Iterator[tuple[str, int, Tensor]]:
        for group, parameters in enumerate(self.optimizer.fp16_groups):
            for parameter, gradient in zip(parameters, self.optimizer.averaged_gradients[group], strict=True):
                _, _, length, first = self._place(parameter)
                yield self.names[parameter], first, gradient.view(-1)[:length]

    def reset(self, updates: int) -> None:
        for flat in self.optimizer.fp32_partitioned_groups_flat:
            _restart(self.optimizer.optimizer.state[flat], flat.detach(), updates)

    def write_back(self, name: str, weight: Callable[[], Tensor]) -> None:
        parameter = self.parameters[name]
        with torch.no_grad():
            flat, start, length, _ = self._place(parameter)
            parameter.ds_tensor[:length].copy_(flat.narrow(0, start, length))  # type: ignore[attr-defined]

    def discard(self) -> None:
        self.optimizer._overflow_clean_up(self.optimizer.loss_scale)
        self.optimizer.micro_step_id = -1

    def _place(self, parameter: Any) -> tuple[Any, int, int, int]:
        """The flat group, the part's offset in it, its length without padding, and its offset in the shard."""
        group, start, size = self.optimizer.grad_position[self.optimizer.get_param_id(parameter)]
        first = min(size * self.optimizer._get_param_partition_rank(parameter), parameter.ds_numel)
        return (
            self.optimizer.fp32_partitioned_groups_flat[group],
            start,
            min(size, parameter.ds_numel - first),
            first,
        )


def _restart(state: dict[str, Any], like: Tensor, updates: int) -> None:
    """Zero the moments in place where they exist: DeepSpeed's fragments may reference their memory."""
    # A fused optimizer, on a GPU, keeps its update count there.
    state["step"] = torch.tensor(float(updates), device=like.device)
    for _, key in MOMENTS:
        if key in state:
            state[key].zero_()
        else:
            state[key] = torch.zeros_like(like)
