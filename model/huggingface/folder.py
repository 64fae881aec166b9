"""Folders in the format of `transformers`: config.json, and safetensors in one file or in several with an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.architectures.architecture import HuggingFaceAdapter
from model.architectures.registry import build_empty
from model.huggingface.configuration import adapter_of, config_here, config_there
from model.huggingface.weights import StoredTensors, Weights, WeightsError, stored_names

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MOST_LAYERS = 1_000  # more than any published model; a model of 400,000 takes minutes to build
LARGEST_FILE = 5_000_000_000  # bytes per file, as in `save_pretrained`


def write_folder(weights: Weights, folder: Path, largest: int = LARGEST_FILE) -> None:
    """Write weights for `AutoModelForCausalLM.from_pretrained(folder)`, each tensor in its own dtype.

    A file holds at most `largest` bytes of tensors, unless a single tensor is larger. Needs memory for one file.
    """
    adapter = adapter_of(weights.config)
    where: dict[str, int] = {}
    total, number = 0, 0
    for number, tensors in enumerate(_files(weights, largest)):
        there = {adapter.name_there(name): tensor.contiguous() for name, tensor in tensors.items()}
        save_file(there, folder / f"part-{number}", metadata={"format": "pt"})
        where |= dict.fromkeys(there, number)
        total += sum(tensor.nbytes for tensor in there.values())
    if number == 0:
        (folder / "part-0").rename(folder / SINGLE)
    else:
        # File names contain the number of files, which is known only now.
        names = [f"model-{part + 1:05d}-of-{number + 1:05d}.safetensors" for part in range(number + 1)]
        for part, name in enumerate(names):
            (folder / f"part-{part}").rename(folder / name)
        index = {"metadata": {"total_size": total}, "weight_map": {key: names[part] for key, part in where.items()}}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    dtype = str(weights.tensors["embedding.tokens.weight"].dtype).removeprefix("torch.")
    values = config_there(weights.config, weights.special_tokens, dtype)
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_folder(folder: Path) -> Weights:
    """The weights in a folder of `transformers`; tensors are read on access.

    Raises WeightsError when a file is missing, broken or a pickle, when the tensors do not match config.json, and when
    a tensor cannot be a weight.
    """
    values = read_json(folder / CONFIG)
    try:
        config, special_tokens = config_here(values)
    except WeightsError as error:
        raise WeightsError(f"{folder / CONFIG}: {error}") from error
    adapter = adapter_of(config)
    places = _places(folder)
    whole = any(name.startswith(adapter.base) for name in places)
    there = {
        _full_name(name, adapter, whole): (path, name)
        for name, path in places.items()
        if adapter.computed is None or not adapter.computed.search(name)
    }
    if adapter.tied is not None and adapter.tied[0] in there:
        copy, original = adapter.tied
        if original in there:
            _check_tied(there, copy, original)
        there.setdefault(original, there[copy])
        del there[copy]
    if config.layers > MOST_LAYERS:
        raise WeightsError(f"{folder / CONFIG}: num_hidden_layers is {config.layers}; at most {MOST_LAYERS} are read")
    if config.layers > len(there):
        # Check before building a model of this many layers.
        raise WeightsError(
            f"{folder / CONFIG}: num_hidden_layers is {config.layers}, and there are {len(there)} tensors in all; the "
            f"files and {CONFIG} do not match, fetch all again"
        )
    names = [name for name, _ in build_empty(config, "meta").named_parameters()]
    wanted = {adapter.name_there(name): name for name in names}
    if wrong := sorted(set(wanted) ^ set(there)):
        problem = (
            "is missing" if wrong[0] in wanted else f"is not a parameter of a {values['model_type']} of this shape"
        )
        raise WeightsError(f"{folder}: {wrong[0]} {problem}; the files and {CONFIG} do not match, fetch all again")
    tensors = StoredTensors({wanted[name]: place for name, place in there.items()})
    try:
        return Weights(config, tensors, special_tokens)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}; the files and {CONFIG} do not match, fetch all again") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises WeightsError when the file is missing, unreadable or holds no JSON object."""
    if path.is_fifo() or path.is_socket() or path.is_char_device() or path.is_block_device():
        raise WeightsError(f"{path} is not a file; name a folder of weights that has it")  # reading would wait
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{path} does not exist; name a folder of weights that has it") from error
    except RecursionError as error:
        raise WeightsError(f"{path} is nested too deeply; fetch it again") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); make it a readable file") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON ({error}); fetch it again") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds no JSON object; fetch it again")
    return values


def _files(weights: Weights, largest: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of each file, by logical name."""
    held: dict[str, Tensor] = {}
    for name, tensor in weights.tensors.items():
        if held and sum(other.nbytes for other in held.values()) + tensor.nbytes > largest:
            yield held
            held = {}
        held[name] = tensor
    yield held


def _places(folder: Path) -> dict[str, Path]:
    """The file of each tensor."""
    if (folder / SINGLE).exists():
        return dict.fromkeys(stored_names(folder / SINGLE), folder / SINGLE)
    if (folder / INDEX).exists():
        return _indexed(folder)
    if pickles := sorted(path.name for path in folder.glob("*.bin")):
        raise WeightsError(
            f"{folder} has {pickles[0]}, a pickle, which can execute any code when loaded; load it with "
            "`transformers` where that is safe, and save it with save_pretrained(…, safe_serialization=True)"
        )
    raise WeightsError(f"{folder} has neither {SINGLE} nor {INDEX}; name a folder of safetensors")


def _indexed(folder: Path) -> dict[str, Path]:
    """The file of each tensor according to the index; directories in file names are ignored. Raises WeightsError."""
    index = folder / INDEX
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise WeightsError(f"{index}: weight_map must be an object that maps tensors to files; fetch it again")
    places = {name: folder / Path(file).name for name, file in named.items()}
    held = {path: set(stored_names(path)) for path in sorted(set(places.values()))}
    for name, path in places.items():
        if name not in held[path]:
            raise WeightsError(f"{index}: {name} is not in {path.name}; the files are of two models, fetch all again")
    return places


def _full_name(name: str, adapter: HuggingFaceAdapter, whole: bool) -> str:
    """The name of a tensor in a file of the whole model; `whole` tells whether its file is one."""
    name = adapter.aliases.get(name, name)
    heads = (*(adapter.tied or ()), adapter.modules.get("head.output", "") + ".weight")
    return name if whole or name in heads else adapter.base + name


def _check_tied(there: dict[str, tuple[Path, str]], copy: str, original: str) -> None:
    tensors = StoredTensors({name: there[name] for name in (copy, original)})
    if not torch.equal(tensors[copy], tensors[original]):
        raise WeightsError(
            f"{there[copy][0]}: {copy} differs from {original}, to which it is tied; fetch the files again"
        )
