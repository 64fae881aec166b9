"""A model's weights outside a lake: its configuration, its tensors by logical name, and its special tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.architectures.architecture import ModelConfig
from model.architectures.layers import LanguageModel
from model.architectures.registry import build_empty

# Tokenizer files that a folder may hold; they are copied unchanged.
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "vocab.json"),
    *("merges.txt", "added_tokens.json", "generation_config.json"),
)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# The parameters whose first dimension is the vocabulary.
VOCABULARY_ROWS = ("embedding.tokens.weight", "head.output.weight")


class WeightsError(ValueError):
    """Weights cannot be read from a folder, or cannot be written as requested."""


@dataclass(frozen=True)
class SpecialTokens:
    """The token ids that begin, end and pad a text; None where there is none."""

    begin: int | None = None
    end: int | None = None
    padding: int | None = None


@dataclass(frozen=True)
class Weights:
    """`tensors` holds every parameter of the model by its logical name, of any float dtype; it may read them lazily."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    special_tokens: SpecialTokens = SpecialTokens()

    def __post_init__(self) -> None:
        shapes = {name: parameter.shape for name, parameter in build_empty(self.config, "meta").named_parameters()}
        if wrong := sorted(set(shapes) ^ set(self.tensors)):
            missing = wrong[0] in shapes
            raise WeightsError(f"the parameter {wrong[0]} is {'missing' if missing else 'not part of this model'}")
        for name, shape in shapes.items():
            if (found := self.tensors[name].shape) != shape:
                raise WeightsError(f"the parameter {name} has shape {tuple(found)}; the model needs {tuple(shape)}")

    def model(self) -> LanguageModel:
        """The model on the CPU in fp32, in evaluation mode, with gradients off."""
        model = build_empty(self.config, "cpu")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.tensors[name])
        return model.eval().requires_grad_(False)


def crop_vocabulary(weights: Weights, vocabulary: int) -> Weights:
    """The weights for the first `vocabulary` tokens only, without the padding rows of embedding and output.

    The logits of these tokens do not change. Raises WeightsError when `vocabulary` is out of range or would drop a
    special token.
    """
    if not 1 <= vocabulary <= weights.config.vocabulary:
        raise WeightsError(f"a vocabulary of {vocabulary} tokens: it must be 1 to {weights.config.vocabulary}")
    for token in astuple(weights.special_tokens):
        if token is not None and vocabulary <= token < weights.config.vocabulary:
            raise WeightsError(f"a vocabulary of {vocabulary} tokens leaves out the special token {token}; keep more")
    try:
        config = replace(weights.config, vocabulary=vocabulary)
    except ValueError as error:
        raise WeightsError(f"a vocabulary of {vocabulary} tokens: {error}; keep more") from error
    tensors = {
        name: tensor[:vocabulary] if name in VOCABULARY_ROWS else tensor for name, tensor in weights.tensors.items()
    }
    return Weights(config, tensors, weights.special_tokens)


class StoredTensors(Mapping[str, Tensor]):
    """Tensors of safetensors files, read on access; `places` maps each name to its file and its name there.

    Raises WeightsError when a file cannot be read, or when a tensor has no float dtype or is not finite.
    """

    def __init__(self, places: Mapping[str, tuple[Path, str]]) -> None:
        self._places = dict(places)
        self._files = {path: open_file(path) for path, _ in places.values()}
        for name, (path, there) in self._places.items():
            _check_floats(self[name], f"{path}: {there}")

    def __getitem__(self, name: str) -> Tensor:
        path, there = self._places[name]
        tensor: Tensor = self._files[path].get_tensor(there)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def open_file(path: Path) -> safe_open:
    """Open a safetensors file. Raises WeightsError when it is missing or incomplete."""
    if path.exists() and not path.is_file():
        raise WeightsError(f"{path} is not a file; fetch it again")
    try:
        return safe_open(str(path), "pt")
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error}); fetch it again") from error


def stored_names(path: Path) -> list[str]:
    """The names of the tensors in a safetensors file. Raises WeightsError."""
    names: list[str] = open_file(path).keys()
    return names


def _check_floats(tensor: Tensor, where: str) -> None:
    if tensor.dtype not in DTYPES:
        kind, *allowed = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, *DTYPES))
        raise WeightsError(f"{where} has dtype {kind}; weights must be {', '.join(allowed)}: save them as one of these")
    if not tensor.isfinite().all():
        raise WeightsError(f"{where} holds infinite or NaN values; fetch it again, or create it again")


@contextmanager
def finished_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `out` when the block succeeds, so that `out` is never incomplete.

    Raises WeightsError when `out` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WeightsError(f"{out} exists already; name another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = Path(folder) / "made"
        made.mkdir()
        yield made
        # Safetensors files are written for their owner alone; others may read a folder that others may enter.
        for path in made.rglob("*"):
            path.chmod(made.stat().st_mode & (0o777 if path.is_dir() else 0o666))
        made.rename(out)
