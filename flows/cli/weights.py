"""`millrace export`, `import weights` and `generate`: checkpoints outside the lake, and text generation."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import friendly_errors, output, print_json, styled
from infra.scratch import scratch_folder

if TYPE_CHECKING:
    from infra.store.lake import Lake
    from model.huggingface.weights import Weights
    from tasks.tokenizer_folder import FolderTokenizer

CheckpointArgument = Annotated[
    str, typer.Argument(help="RUN (newest checkpoint), RUN@STEP, or a folder. RUN is a key or its first characters.")
]


NEW_TOKENS = 64  # the default of `generate`


class WeightsRefused(ValueError):
    """The request is not possible with this checkpoint."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    """Weights, and the folder with the files of their tokenizer if there are any."""

    weights: Weights
    tokenizer: Path | None
    origin: dict[str, Any]


def export(
    checkpoint: CheckpointArgument,
    out: Annotated[str, typer.Argument(help="Folder to create.")],
    vocabulary: Annotated[
        int | None, typer.Option(help="Keep only this many tokens, such as the tokenizer's size; removes padding.")
    ] = None,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Export a checkpoint as a folder that `transformers` can load.

    `millrace export 3fa9@1000 out && python -c 'AutoModelForCausalLM.from_pretrained("out")'`
    """
    with friendly_errors(as_json), scratch_folder("export-") as cache:
        from model.huggingface.folder import write_folder
        from model.huggingface.weights import crop_vocabulary, finished_folder

        opened = _open(checkpoint, lake, cache)
        weights = opened.weights
        if vocabulary is not None:
            _check_vocabulary(vocabulary, _tokenizer(opened))
            weights = crop_vocabulary(weights, vocabulary)
        with finished_folder(Path(out)) as folder:
            write_folder(weights, folder)
            copied = _copy_tokenizer(opened.tokenizer, folder)
        summary = {"out": out, **opened.origin, **_described(weights), "tokenizer": copied}
    _show(summary, as_json)


def import_weights(
    folder: Annotated[str, typer.Argument(help="A folder of `transformers`: config.json and safetensors.")],
    out: Annotated[str, typer.Argument(help="Folder to create.")],
    as_json: JsonOption = False,
) -> None:
    """Convert the weights of a Hugging Face folder to a folder that `generate` and `export` accept."""
    with friendly_errors(as_json):
        from model.huggingface.folder import read_folder
        from model.huggingface.plain import write_plain
        from model.huggingface.weights import finished_folder

        weights = read_folder(Path(folder))
        with finished_folder(Path(out)) as made:
            write_plain(weights, made)
            copied = [*_copy_tokenizer(Path(folder), made), *_make_tokenizer(made)]
        summary = {"out": out, "folder": folder, **_described(weights), "tokenizer": copied}
    _show(summary, as_json)


def generate(
    checkpoint: CheckpointArgument,
    prompt: Annotated[str, typer.Option(help="Text to continue. Without it: starts a document.")] = "",
    tokens: Annotated[
        int | None, typer.Option(help="Most new tokens. Without it: 64, or fewer if the model has less room.", min=1)
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature. Without it: greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample among this many of the likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample among the fewest tokens with this probability.")] = None,
    seed: Annotated[int, typer.Option(help="Seed for sampling.")] = 0,
    lake: LakeOption = DEFAULT_LAKE,
    as_json: JsonOption = False,
) -> None:
    """Continue a text with a checkpoint."""
    with friendly_errors(as_json), scratch_folder("generate-") as cache:
        import torch

        from model.analysis.generation import Sampling
        from model.analysis.generation import generate as continue_from

        opened = _open(checkpoint, lake, cache)
        tokenizer = _tokenizer(opened)
        if tokenizer is None:
            raise WeightsRefused(
                f"{checkpoint} has no tokenizer, which generating text requires: add tokenizer.json, vocab.json with "
                "merges.txt, or tokenizer.model"
            )
        special = opened.weights.special_tokens
        given = tokenizer.encode(prompt)
        if not given and special.begin is not None:
            given = [special.begin]
        words, known = tokenizer.size, opened.weights.config.vocabulary
        if unknown := [token for token in given if token >= known]:
            raise WeightsRefused(
                f"the prompt contains {tokenizer.spelling(unknown[0])!r}, token {unknown[0]} of the tokenizer. It "
                f"has {words} tokens, but the model has only {known}; use the tokenizer that the model was trained "
                "with, or remove the token from the prompt"
            )
        try:
            sampling = None
            if temperature is not None or top_k is not None or top_p is not None:
                sampling = Sampling(1.0 if temperature is None else temperature, top_k, top_p, seed)
            if tokens is None:
                tokens = max(1, min(NEW_TOKENS, opened.weights.config.positions - len(given)))
            ids = continue_from(
                opened.weights.model(),
                torch.tensor([given], dtype=torch.int64),
                tokens,
                sampling=sampling,
                end=special.end,
                vocabulary=min(words, known),
            )[0].tolist()
        except ValueError as error:
            raise WeightsRefused(str(error)) from error
        new = ids[len(given) :]
        before, text = tokenizer.decode(given), tokenizer.decode(ids)
        # Some tokenizers drop the space at the beginning of what they decode.
        text = text[len(before) :] if text.startswith(before) else tokenizer.decode(new)
    if as_json:
        print_json({**opened.origin, "prompt": prompt, "text": text, "prompt_tokens": given, "tokens": new})
        return
    output.print(prompt + text, soft_wrap=True)


def _open(checkpoint: str, lake: str, cache: Path) -> OpenedCheckpoint:
    """Open the weights that the user named. Raises StoreError and WeightsError."""
    folder = Path(checkpoint)
    if folder.is_dir():
        from model.huggingface.folder import read_folder
        from model.huggingface.plain import MODEL, read_plain

        weights = read_plain(folder) if (folder / MODEL).exists() else read_folder(folder)
        return OpenedCheckpoint(weights, folder, {"folder": checkpoint})
    from tasks.runs import find_run

    key, _, step = checkpoint.partition("@")
    if not key or (step and not step.isdecimal()):
        raise WeightsRefused(f"{checkpoint!r} is neither a folder nor RUN or RUN@STEP, such as 3fa9@1000")
    opened = open_lake(lake)
    return _of_run(opened, find_run(opened, key), int(step) if step else None, cache)


def _of_run(lake: Lake, run: str, step: int | None, cache: Path) -> OpenedCheckpoint:
    """A checkpoint of a run, with the tokenizer of the run's tokens if these are still in the lake."""
    from infra.store.errors import NotThere
    from model.analysis.scoring import load_checkpoint
    from model.checkpoints.manifest import committed_steps
    from model.huggingface.weights import SpecialTokens, Weights
    from model.run.config import read_run
    from tasks.evaluation.inputs import fetch_tokenizer, tokens_of_run
    from tasks.token_artifact import read_summary
    from tasks.tokenizer import PADDING, TOKENIZER_FILE, load_tokenizer

    steps = committed_steps(lake, run)
    if not steps or (step is not None and step not in steps):
        raise NotThere(f"the run {run[:12]} has no checkpoint{'' if step is None else f' at {step}'}; it has {steps}")
    step = steps[-1] if step is None else step
    config, model = read_run(lake, run).model, load_checkpoint(lake, run, step, cache / "checkpoint")
    try:
        tokens = tokens_of_run(lake, run)
        path, last = fetch_tokenizer(lake, tokens, cache / "parts"), read_summary(lake, tokens)["end_of_document"]
    except NotThere:
        folder, special_tokens = None, SpecialTokens()
    else:
        folder = cache / "tokenizer"
        folder.mkdir()
        tokenizer = load_tokenizer(path, last)
        if tokenizer.num_special_tokens_to_add(False) == 0:
            shutil.copy(path, folder / TOKENIZER_FILE)
        else:
            # Nothing stood before or behind a text in training but the token that ends documents.
            whole = {**json.loads(path.read_bytes()), "post_processor": None}
            (folder / TOKENIZER_FILE).write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
        end = tokenizer.token_to_id(last)
        padding = tokenizer.token_to_id(PADDING)
        special_tokens = SpecialTokens(end, end, end if padding is None else padding)
        values = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.positions,
            "bos_token": last,
            "eos_token": last,
            "pad_token": last if padding is None else PADDING,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    weights = Weights(config, dict(model.named_parameters()), special_tokens)
    return OpenedCheckpoint(weights, folder, {"run": run, "step": step})


def _tokenizer(opened: OpenedCheckpoint) -> FolderTokenizer | None:
    """The tokenizer of a checkpoint; None if there is none. Raises WeightsRefused if it cannot be read."""
    from tasks.tokenizer_folder import open_folder_tokenizer

    try:
        return None if opened.tokenizer is None else open_folder_tokenizer(opened.tokenizer)
    except ValueError as error:
        raise WeightsRefused(str(error)) from error


def _check_vocabulary(vocabulary: int, tokenizer: FolderTokenizer | None) -> None:
    if tokenizer is not None and vocabulary < tokenizer.size:
        raise WeightsRefused(f"a vocabulary of {vocabulary} is too small: the tokenizer has {tokenizer.size} tokens")


def _copy_tokenizer(source: Path | None, folder: Path) -> list[str]:
    """Copy the files of a tokenizer, and return their names."""
    from model.huggingface.weights import TOKENIZER_FILES

    found = [name for name in TOKENIZER_FILES if source is not None and (source / name).is_file()]
    for name in found:
        shutil.copyfile((source or folder) / name, folder / name)
    return found


def _make_tokenizer(folder: Path) -> list[str]:
    """Make tokenizer.json from vocab.json and merges.txt, if only these are there, and return its name."""
    from tasks.tokenizer import TOKENIZER_FILE
    from tasks.tokenizer_folder import read_vocabulary, vocabulary_files

    files = vocabulary_files(folder)
    if (folder / TOKENIZER_FILE).exists() or not files:
        return []
    try:
        read_vocabulary(files).save(str(folder / TOKENIZER_FILE))
    except ValueError as error:
        raise WeightsRefused(str(error)) from error
    return [TOKENIZER_FILE]


def _described(weights: Weights) -> dict[str, Any]:
    from model.architectures.registry import architecture_name

    return {
        "architecture": architecture_name(weights.config),
        "parameters": weights.config.parameters,
        "vocabulary": weights.config.vocabulary,
    }


def _show(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    counts = f"{summary['parameters']:,} parameters, {summary['vocabulary']:,} tokens"
    output.print(styled("{}, {}: [bold]{}[/]", summary["architecture"], counts, summary["out"]))
    output.print(f"tokenizer: {', '.join(summary['tokenizer']) or 'none found; add its files by hand'}")
