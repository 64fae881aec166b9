"""The tokenizer: fitted on a corpus, or read from a `tokenizers` JSON file such as GPT-NeoX's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import tokenizers

from infra.stage import StageConfig, StageKind, stage

TOKENIZER_FILE = "tokenizer.json"
END_OF_TEXT = "<|endoftext|>"  # ends a document, unless a recipe names another token of its file
PADDING = "<|padding|>"
_MOST_LISTED = 20  # special tokens in a message
PANIC = "pyo3_runtime"  # where PanicException is from, which is no Exception and cannot be pickled


class TokenizerConfig(StageConfig):
    """A byte-level BPE like GPT-NeoX-20B's: NFC, GPT-2's pattern, no prefix space, two special tokens."""

    vocabulary_size: int = pydantic.Field(50_257, ge=258)
    most_documents: int = pydantic.Field(100_000, ge=1)


@stage("tokenizer", version=1, kind=StageKind.fit, config=TokenizerConfig, libraries=["tokenizers"], columns=["text"])
def fit_tokenizer(documents: Iterator[pa.Table], config: TokenizerConfig, folder: Path) -> dict[str, Path]:
    """Fit the tokenizer on the first `most_documents` documents; the others are read and ignored.

    Normaliser, splitting and special tokens are those of EleutherAI's 20B_tokenizer.json, without its tokens for runs
    of spaces, which are useless in a small corpus.
    """
    # With several threads, the order in which counts are summed would vary between runs.
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocabulary_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(documents, config.most_documents), trainer)
    path = folder / TOKENIZER_FILE
    tokenizer.save(str(path), pretty=False)
    return {TOKENIZER_FILE: path}


def load_tokenizer(path: Path, end_of_document: str = END_OF_TEXT) -> Any:
    """Load a tokenizer from a JSON file, for documents that end with the token `end_of_document`.

    What the file says of truncation and padding is for other uses: documents are encoded whole. Raises ValueError if
    the file is invalid or lacks that token.
    """
    tokenizer = read_tokenizer(path)
    if tokenizer.token_to_id(end_of_document) is None:
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
        raise ValueError(
            f"{path} has no token {end_of_document}, which ends every document; its special tokens are "
            f"{', '.join(special[:_MOST_LISTED]) or 'none'}: name the right one as tokenizer.end_of_document"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A file may list it as an ordinary token. It keeps its id.
    tokenizer.add_special_tokens([end_of_document])
    return tokenizer


def read_tokenizer(path: Path) -> Any:
    """Read a JSON file of the `tokenizers` library. Raises ValueError if it is invalid."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower type
        raise ValueError(f"{path} is not a tokenizer of the `tokenizers` library: {error}") from error


def encode_texts(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The ids of each text, without those that a post-processor adds. Raises ValueError if the library gives up."""
    try:
        return [item.ids for item in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    except BaseException as error:
        if type(error).__module__ != PANIC:
            raise
        raise ValueError(f"the tokenizer cannot encode these texts ({error}): use another tokenizer file") from None


def _texts(documents: Iterator[pa.Table], most: int) -> Iterator[str]:
    left = most
    for table in documents:
        texts = table["text"].to_pylist()[: max(left, 0)]
        left -= len(texts)
        yield from texts
