"""Wrong on purpose: what an engine would do with a mistake in it. Each is made in an engine that is otherwise right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

from model.engine.deepspeed import DeepSpeedEngine
from model.parallel.collectives import summed
from model.parallel.layers import RowLinear
from tests.model.support.course import ADAMW


def add_up(engine: DeepSpeedEngine) -> None:
    """DeepSpeed adds the gradients of the data ranks up and does not divide (its `gradient_allreduce_op` "sum")."""
    engine._engine.optimizer.gradient_average = False


def read_another(engine: DeepSpeedEngine) -> None:
    """Every data rank reads the first one's sequences in place of its own."""
    accumulate = engine.accumulate
    engine.accumulate = lambda mine: accumulate(engine.gather(mine)[0])  # type: ignore[method-assign]


def repeat_first(engine: DeepSpeedEngine) -> None:
    """Every rank reads its first micro-batch again in place of the others."""
    accumulate = engine.accumulate
    engine.accumulate = lambda mine: accumulate([mine[0]] * len(mine))  # type: ignore[method-assign]


def double_bias(engine: DeepSpeedEngine) -> None:
    """Every tensor rank adds the whole row-parallel bias before the sum, so that it counts as often as there are."""
    for module in engine.stage.modules():
        if isinstance(module, RowLinear):
            module.forward = partial(_biased_before, module)  # type: ignore[method-assign]


def decay_all(engine: DeepSpeedEngine) -> None:
    """Biases and norms are decayed as matrices are."""
    for group in engine._engine.optimizer.param_groups:
        group["weight_decay"] = ADAMW.weight_decay


def _biased_before(module: RowLinear, x: Tensor) -> Tensor:
    return summed(functional.linear(x, module.weight, module.bias), module.group)


MISTAKES: dict[str, Callable[[DeepSpeedEngine], None]] = {
    "summed": add_up,
    "swapped": read_another,
    "repeated": repeat_first,
    "doubled": double_bias,
    "decayed": decay_all,
}
