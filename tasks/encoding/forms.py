"""The forms in which a recipe may name a tokenizer: tokenizer.json, GPT-2's two files in a folder, or SentencePiece."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.encoding.sentencepiece_model import as_tokenizer, encoder_of
from tasks.tokenizer import SENTENCEPIECE_FILE, TOKENIZER_FILE, encode_texts, end_documents_with, read_tokenizer
from tasks.tokenizer_folder import read_vocabulary, vocabulary_files


@dataclass(frozen=True)
class OpenedTokenizer:
    """A `tokenizers.Tokenizer`, and what gives the ids of texts where the two can differ."""

    tokenizer: Any
    encode: Callable[[list[str]], list[list[int]]]


def files_of_tokenizer(path: Path) -> dict[str, Path]:
    """The files of a tokenizer, by the names that say what they are. Raises ValueError if there is none at `path`."""
    if path.is_dir():
        for name in (TOKENIZER_FILE, SENTENCEPIECE_FILE):
            if (path / name).is_file():
                return {name: path / name}
        if found := vocabulary_files(path):
            return found
        raise ValueError(
            f"the folder {path} has none of tokenizer.json, vocab.json with merges.txt, and tokenizer.model"
        )
    if not path.is_file():
        raise ValueError(f"there is no file {path}; omit it to fit a tokenizer")
    return {SENTENCEPIECE_FILE if path.suffix == ".model" else TOKENIZER_FILE: path}


def open_files(files: Mapping[str, Path], end_of_document: str, special_are_text: bool = True) -> OpenedTokenizer:
    """Open a tokenizer, for documents that end with the token `end_of_document`.

    `special_are_text`: special tokens spelled in a text are text; SentencePiece knows nothing else. Raises ValueError
    for files that are no tokenizer, or lack that token.
    """
    if SENTENCEPIECE_FILE in files:
        path = files[SENTENCEPIECE_FILE]
        tokenizer = end_documents_with(as_tokenizer(path), end_of_document, path)
        tokenizer.encode_special_tokens = True
        return OpenedTokenizer(tokenizer, encoder_of(path))
    if TOKENIZER_FILE in files:
        path = files[TOKENIZER_FILE]
        tokenizer = end_documents_with(read_tokenizer(path), end_of_document, path)
    else:
        tokenizer = end_documents_with(read_vocabulary(files), end_of_document, min(files.values()).parent)
    tokenizer.encode_special_tokens = special_are_text
    return OpenedTokenizer(tokenizer, lambda texts: encode_texts(tokenizer, texts))
