"""What an architecture declares. All that the rest of the code knows about an architecture, it reads from here."""

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
    """An architecture does not declare what was asked of it."""


class ModelConfig(Protocol):
    """What the configurations of all architectures have in common: frozen dataclasses with these fields."""

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
        """Blocks."""

    @property
    def width(self) -> int:
        """Size of the residual stream."""

    @property
    def heads(self) -> int:
        """Attention heads of a block."""

    @property
    def parameters(self) -> int:
        """All parameters; a tied table counts once."""


@dataclass(frozen=True)
class Activations:
    """The activation memory of a block: what its forward pass keeps for its backward pass.

    `norms` counts the inputs and statistics of the norms, which sequence parallelism shards; `inputs` what the
    column-parallel layers read, replicated on all tensor ranks; `inner` what lies between column- and row-parallel
    layers, without the result of attention; `attention` that result and the statistics of its softmax. Tensor
    parallelism shards the last two.
    """

    norms: Bytes
    inputs: Bytes
    inner: Bytes
    attention: Bytes


@dataclass(frozen=True)
class HuggingFaceAdapter:
    """How the architecture is stored in a folder of `transformers`.

    `write_config` gives the entries of config.json that only this architecture has. `read_config` makes a configuration
    from a config.json and the fields that all have in common (vocabulary, positions, layers, width, heads); it raises
    ValueError for a form that does not exist here and KeyError for a missing entry. `modules` maps module names,
    without the number of a layer, to those in the files; "{}" stands for the layer's number.
    """

    model_type: str
    model_class: str
    write_config: Callable[[Any], dict[str, Any]]
    read_config: Callable[[Mapping[str, Any], dict[str, Any]], Any]
    modules: Mapping[str, str]
    # Other names of tensors in files, and the one in `modules`.
    aliases: Mapping[str, str] = field(default_factory=dict)
    # Tensors of files that are no parameters but follow from the configuration.
    computed: re.Pattern[str] | None = None
    # A tensor that a file may hold a second time, and the one that it must be equal to.
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

    `config` is a frozen dataclass (see ModelConfig). `initial(name, config)` says how a parameter starts and
    `split(name)` how tensor parallelism shards a module. Logical names begin with `embedding.`, `layers.N.` or
    `head.`. Without `activations` no memory plan can be made, and without `huggingface` no weights of `transformers`
    are read or written; both then raise NotDeclared.
    """

    name: str
    config: type[Any]
    model: Callable[[Any], LanguageModel]
    initial: Callable[[str, Any], Fill]
    split: Callable[[str], ParallelStyle]
    activations: Activations | None = None
    huggingface: HuggingFaceAdapter | None = None

    def require_activations(self) -> Activations:
        """Its activation memory. Raises NotDeclared."""
        if self.activations is None:
            raise NotDeclared(
                f"the architecture {self.name!r} declares no activation memory, so its memory and speed cannot be "
                f"planned: give `activations` to its Architecture in model/architectures/{self.name}"
            )
        return self.activations

    def require_huggingface(self) -> HuggingFaceAdapter:
        """Its form in `transformers`. Raises NotDeclared."""
        if self.huggingface is None:
            raise NotDeclared(
                f"the architecture {self.name!r} has no Hugging Face adapter, so its weights cannot be read from or "
                f"written for transformers: give `huggingface` to its Architecture in model/architectures/{self.name}"
            )
        return self.huggingface
