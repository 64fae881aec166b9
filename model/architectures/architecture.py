"""The declarations of an architecture. The rest of the code knows an architecture only through them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field
from typing import Any, ClassVar, Protocol

from model.architectures.initialisation import Fill
from model.architectures.layers import LanguageModel, ParallelStyle

# (configuration, bytes of an element, device) -> bytes per token of one block, before any sharding
Bytes = Callable[[Any, int, str], float]


class NotDeclared(ValueError):
    """An architecture does not declare a requested part."""


class ModelConfig(Protocol):
    """The common part of all architectures' configurations, which are frozen dataclasses with these fields."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __hash__(self) -> int:
        """Frozen dataclasses are hashable."""

    @property
    def vocabulary(self) -> int:
        """Rows of the token embedding, padding included."""

    @property
    def positions(self) -> int:
        """The longest sequence, in tokens."""

    @property
    def layers(self) -> int:
        """Number of blocks."""

    @property
    def width(self) -> int:
        """Size of the residual stream."""

    @property
    def heads(self) -> int:
        """Attention heads per block."""

    @property
    def parameters(self) -> int:
        """Number of parameters; a tied embedding counts once."""


@dataclass(frozen=True)
class Activations:
    """The activation memory of a block: what its forward pass keeps for its backward pass.

    `norms`: inputs and statistics of the norms, sharded by sequence parallelism. `inputs`: inputs of the
    column-parallel layers, replicated on all tensor ranks. `inner`: activations between column- and row-parallel
    layers, without the output of attention. `attention`: that output and the softmax statistics. Tensor parallelism
    shards the last two.
    """

    norms: Bytes
    inputs: Bytes
    inner: Bytes
    attention: Bytes


@dataclass(frozen=True)
class HuggingFaceAdapter:
    """The storage format of the architecture in a folder of `transformers`.

    `write_config` returns the entries of config.json that only this architecture has. `read_config` makes a
    configuration from a config.json and the common fields (vocabulary, positions, layers, width, heads); it raises
    ValueError for an unsupported variant and KeyError for a missing entry. `modules` maps module names, without layer
    numbers, to the names in the files, where "{}" is the layer number.
    """

    model_type: str
    model_class: str
    write_config: Callable[[Any], dict[str, Any]]
    read_config: Callable[[Mapping[str, Any], dict[str, Any]], Any]
    modules: Mapping[str, str]
    # Maps alternative tensor names in files to the names that `modules` gives.
    aliases: Mapping[str, str] = field(default_factory=dict)
    # Matches tensors in files that are not parameters: they follow from the configuration.
    computed: re.Pattern[str] | None = None
    # The prefix that files lack which were saved from the model without its output layer, as OPT was published.
    base: str = ""
    # (copy, original): a file may hold either, or both; then they must be equal.
    tied: tuple[str, str] | None = None

    def name_there(self, name: str) -> str:
        """`layers.3.attention.output.weight` -> `gpt_neox.layers.3.attention.dense.weight`."""
        module, _, kind = name.rpartition(".")
        number = re.match(r"layers\.(\d+)\.", module)
        key = f"layers.{module[number.end() :]}" if number else module
        return self.modules[key].format(number[1] if number else "") + f".{kind}"


@dataclass(frozen=True)
class Architecture:
    """A family of models.

    `config` is a frozen dataclass (see ModelConfig). `initial(name, config)` gives the initialisation of a parameter,
    `split(name)` how tensor parallelism shards a module. Logical names begin with `embedding.`, `layers.N.` or
    `head.`. Memory plans need `activations`, and weights of `transformers` need `huggingface`; without them these raise
    NotDeclared.
    """

    name: str
    config: type[Any]
    model: Callable[[Any], LanguageModel]
    initial: Callable[[str, Any], Fill]
    split: Callable[[str], ParallelStyle]
    activations: Activations | None = None
    huggingface: HuggingFaceAdapter | None = None

    def require_activations(self) -> Activations:
        """The activation memory. Raises NotDeclared when there is none."""
        if self.activations is None:
            raise NotDeclared(
                f"the architecture {self.name!r} declares no activation memory, so its memory and speed cannot be "
                f"planned: pass `activations` to its Architecture in model/architectures/{self.name}"
            )
        return self.activations

    def require_huggingface(self) -> HuggingFaceAdapter:
        """The Hugging Face adapter. Raises NotDeclared when there is none."""
        if self.huggingface is None:
            raise NotDeclared(
                f"the architecture {self.name!r} has no Hugging Face adapter, so its weights cannot be read from or "
                f"written for transformers: pass `huggingface` to its Architecture in model/architectures/{self.name}"
            )
        return self.huggingface
