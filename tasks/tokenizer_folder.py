"""The tokenizer of a folder of weights: tokenizer.json, vocab.json with merges.txt, or tokenizer.model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from infra.budget import Budget
from infra.child import ChildDied, run_in_child
from tasks.encoding.sentencepiece_model import open_model
from tasks.tokenizer import SENTENCEPIECE_FILE, TOKENIZER_FILE, read_tokenizer

VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
# `transformers` reads both; the second is of older versions and lists the names only.
_CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")
_ADDED = "added_tokens.json"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_END_OF_TEXT = "<|endoftext|>"  # GPT-2's, where no file names another
_TRIAL = Budget(seconds=30.0, memory_bytes=4 << 30)  # a model of 250,000 pieces is loaded in a second


class FolderTokenizer(Protocol):
    """Encodes prompts and decodes what a model adds to them. `size` counts the tokens."""

    size: int

    def encode(self, prompt: str) -> list[int]:
        """The ids of a prompt, after the token that its model expects at the beginning, if there is one."""

    def decode(self, ids: list[int]) -> str:
        """The text of the ids, without special tokens."""

    def spelling(self, id: int) -> str:
        """The token with this id, as its file writes it."""


def open_folder_tokenizer(folder: Path) -> FolderTokenizer | None:
    """Open the tokenizer of a folder; None if it has none. Raises ValueError if its files cannot be used."""
    if (folder / TOKENIZER_FILE).is_file():
        return _JsonTokenizer(read_tokenizer(folder / TOKENIZER_FILE))
    if files := vocabulary_files(folder):
        return _JsonTokenizer(read_vocabulary(files))
    if (folder / SENTENCEPIECE_FILE).is_file():
        return _SentencePieceTokenizer(folder)
    return None


def vocabulary_files(folder: Path) -> dict[str, Path]:
    """GPT-2's two files, as OPT has them, with those that name special tokens; empty if the folder lacks the two."""
    if not all((folder / name).is_file() for name in (VOCABULARY_FILE, MERGES_FILE)):
        return {}
    names = (VOCABULARY_FILE, MERGES_FILE, *_CONFIGS, _ADDED)
    return {name: folder / name for name in names if (folder / name).is_file()}


def read_vocabulary(found: Mapping[str, Path]) -> Any:
    """The `tokenizers.Tokenizer` of GPT-2's two files: a byte-level BPE with GPT-2's pattern.

    The special tokens are those of tokenizer_config.json, special_tokens_map.json and added_tokens.json; without these,
    ``<|endoftext|>``. A prompt begins with the first of them where ``add_bos_token`` is true, as in OPT. Raises
    ValueError if the files cannot be used, or if they contradict each other.
    """
    files = [str(found[name]) for name in (VOCABULARY_FILE, MERGES_FILE)]
    values = _values(found)
    try:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(*tokenizers.models.BPE.read_file(*files)))
    except Exception as error:  # the library raises no narrower type
        raise ValueError(
            f"{' and '.join(files)} are no vocabulary of GPT-2's kind ({error}): fetch both again"
        ) from error
    prefix = values.get("add_prefix_space") is True
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    try:
        _add_special(tokenizer, found, values)
    except (ValueError, TypeError, AttributeError) as error:  # of any value that these files may hold
        raise ValueError(f"{found[VOCABULARY_FILE].parent}: its special tokens cannot be used: {error}") from error
    begin = _content(values.get("bos_token", _END_OF_TEXT))
    if values.get("add_bos_token") is True and begin is not None:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=[begin, "$A"],
            pair=[begin, "$A", begin, "$B"],
            special_tokens=[(begin, tokenizer.token_to_id(begin))],
        )
    return tokenizer


class _JsonTokenizer:
    def __init__(self, tokenizer: Any) -> None:
        # What the file says of truncation and padding is for other uses: a prompt is encoded whole.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.size: int = tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, prompt: str) -> list[int]:
        return list(self._tokenizer.encode(prompt).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids))

    def spelling(self, id: int) -> str:
        return str(self._tokenizer.id_to_token(id))


class _SentencePieceTokenizer:
    """LLaMA's kind: a prompt begins with the model's first special token, unless ``add_bos_token`` is false."""

    def __init__(self, folder: Path) -> None:
        path = folder / SENTENCEPIECE_FILE
        try:
            run_in_child(try_sentencepiece, path, budget=_TRIAL)
        except ChildDied as error:
            raise ValueError(f"{path} cannot be used: the process that loaded it {error}") from error
        self._processor = open_model(path)
        self.size: int = self._processor.get_piece_size()
        begin = self._processor.bos_id()  # -1 if there is none
        values = _values({name: folder / name for name in _CONFIGS})
        self._begin = [begin] if begin >= 0 and values.get("add_bos_token", True) is not False else []

    def encode(self, prompt: str) -> list[int]:
        return [*self._begin, *self._processor.encode(prompt)]

    def decode(self, ids: list[int]) -> str:
        # Unknown ids would be an error of the library's own; control tokens have no text.
        return str(self._processor.decode(ids))

    def spelling(self, id: int) -> str:
        return str(self._processor.id_to_piece(id))


def try_sentencepiece(path: Path) -> None:
    """Load a SentencePiece model and use it once. Raises ValueError if it cannot be used."""
    processor = open_model(path)
    processor.decode(processor.encode("What the mill has ground, 2 of 3 bakers buy."))


def _add_special(tokenizer: Any, found: Mapping[str, Path], values: dict[str, Any]) -> None:
    """Add the tokens that are never split. Raises ValueError unless each gets the id that the files say."""
    named = [text for name in _SPECIAL if (text := _content(values.get(name))) is not None] or [_END_OF_TEXT]
    listed = {_content(token): (id, token) for id, token in values.get("added_tokens_decoder", {}).items()}
    listed |= {name: (id, name) for name, id in _read(found.get(_ADDED)).items()}
    # A token that is not in the vocabulary gets the next id.
    declared = sorted((int(id), text, token) for text, (id, token) in listed.items() if text is not None)
    tokens = {text: _added(token, text in named) for _, text, token in declared}
    tokenizer.add_tokens([*tokens.values(), *(_added(text, True) for text in named if text not in tokens)])
    for id, text, _ in declared:
        if (found := tokenizer.token_to_id(text)) != id:
            raise ValueError(
                f"{text} has the id {id} in one file, but the vocabulary makes it {found}: fetch all again"
            )


def _added(token: Any, special: bool) -> tokenizers.AddedToken:
    """A token as its file declares it; a file of texts alone says nothing of the spaces around them."""
    flags = token if isinstance(token, dict) else {}
    sides = {side: flags.get(side) is True for side in ("lstrip", "rstrip", "single_word")}
    return tokenizers.AddedToken(
        _content(token), normalized=False, special=special or flags.get("special") is True, **sides
    )


def _values(files: Mapping[str, Path]) -> dict[str, Any]:
    """The values of the configs; those of the first come first."""
    found: dict[str, Any] = {}
    for name in _CONFIGS:
        found = {**_read(files.get(name)), **found}
    return {name: value for name, value in found.items() if value is not None}


def _read(path: Path | None) -> dict[str, Any]:
    if path is None or not path.is_file():
        return {}
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}): fetch it again") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no JSON object: fetch it again")
    return values


def _content(token: Any) -> str | None:
    """The text of a token: a string, or an object with its text."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) and content else None
