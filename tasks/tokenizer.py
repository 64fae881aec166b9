"""The tokenizer: fitted on a corpus, or read from a `tokenizers` JSON file such as GPT-NeoX's."""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import tokenizers

from infra.stage import PARTIAL, StageConfig, StageKind, stage
from tasks.text.byte_pairs import byte_pairs

TOKENIZER_FILE = "tokenizer.json"
SENTENCEPIECE_FILE = "tokenizer.model"
END_OF_TEXT = "<|endoftext|>"  # ends a document, unless a recipe names another token of its file
PADDING = "<|padding|>"
_PARTITIONS = 8  # the words of all shards are summed in so many parts, in parallel
_ROWS = pa.schema([("partition", pa.int32()), ("word", pa.string()), ("count", pa.int64())])
_MOST_LISTED = 20  # special tokens in a message
PANIC = "pyo3_runtime"  # where PanicException is from, which is no Exception and cannot be pickled


class TokenizerConfig(StageConfig):
    """A byte-level BPE like GPT-NeoX-20B's: NFC, GPT-2's pattern, no prefix space, two special tokens.

    `longest_run`: it has tokens for runs of 2 to so many spaces, which are part of the `vocabulary_size`; those of
    GPT-NeoX-20B go up to 24.
    """

    vocabulary_size: int = pydantic.Field(50_257, ge=258)
    most_documents: int = pydantic.Field(100_000, ge=1)
    longest_run: int = pydantic.Field(0, ge=0, le=100, exclude_if=lambda longest: longest == 0)

    @property
    def runs(self) -> list[str]:
        """The tokens for runs of spaces, in the order of their ids."""
        return [" " * length for length in range(self.longest_run, 1, -1)]


def count_words(documents: pa.Table, config: TokenizerConfig) -> pa.Table:
    """How often each word occurs, in the characters of byte-level BPE, sorted. Whatever the order of documents."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=0, limit_alphabet=0, show_progress=False)
    _untrained().train_from_iterator(iter(documents["text"].to_pylist()), trainer)
    # The trainer keeps its words and their counts, and shows them only when it is pickled.
    counted = json.loads(trainer.__getstate__())["BpeTrainer"]["words"]
    words = sorted(counted)
    partitions = [zlib.crc32(word.encode()) % _PARTITIONS for word in words]
    return pa.table([partitions, words, [counted[word] for word in words]], schema=_ROWS)


def sum_words(tables: Iterable[pa.Table], config: TokenizerConfig, folder: Path) -> dict[str, Path]:
    """The sums of several counts of `count_words`, as a partial file."""
    total = Counter[str]()
    for table in tables:
        for word, count in zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True):
            total[word] += count
    name = f"{zlib.crc32(min(total, default='').encode()) % _PARTITIONS}{PARTIAL}"  # as are all words of a partition
    path = folder / name
    path.write_text(json.dumps(total, sort_keys=True), encoding="utf-8")
    return {name: path}


def merge_words(partial: Mapping[str, Path], config: TokenizerConfig, folder: Path) -> dict[str, Path]:
    """The tokenizer for the words of the partial files of `sum_words`."""
    alphabet = _bytes_of_characters()
    to_bytes = {ord(character): byte for character, byte in alphabet.items()}
    words: dict[bytes, int] = {}
    for name in sorted(partial):
        counted = json.loads(partial[name].read_text("utf-8"))
        words |= {word.translate(to_bytes).encode("latin-1"): count for word, count in counted.items()}
    names = [END_OF_TEXT, PADDING, *sorted(alphabet)]
    ids = [names.index(character) for character in sorted(alphabet, key=alphabet.__getitem__)]
    merges = []
    for left, right in byte_pairs(words, ids, len(names), config.vocabulary_size - len(config.runs)):
        merges.append((names[left], names[right]))
        names.append(names[left] + names[right])
    tokenizer = _untrained()
    tokenizer.model = tokenizers.models.BPE({name: number for number, name in enumerate(names)}, merges)
    tokenizer.add_special_tokens([END_OF_TEXT, PADDING])
    tokenizer.add_tokens([tokenizers.AddedToken(run, normalized=True) for run in config.runs])
    path = folder / TOKENIZER_FILE
    tokenizer.save(str(path), pretty=False)
    return {TOKENIZER_FILE: path}


@stage(
    "tokenizer",
    version=1,
    kind=StageKind.fit,
    config=TokenizerConfig,
    libraries=["tokenizers"],
    columns=["text"],
    groups={"map": count_words, "group": sum_words, "join": merge_words},
    first=lambda config: config.most_documents,
)
def fit_tokenizer(documents: Iterator[pa.Table], config: TokenizerConfig, folder: Path) -> dict[str, Path]:
    """Fit the tokenizer on the first `most_documents` documents; the others are ignored.

    Normaliser, splitting and special tokens are those of EleutherAI's 20B_tokenizer.json; its tokens for runs of
    spaces, which are useless in a small corpus, come with `longest_run`. The words are counted shard by shard, in
    parallel, and the merges are made from the sums: they are those of the trainer of the `tokenizers` library for all
    documents at once.
    """
    partial = sum_words(
        (count_words(table, config) for table in first_documents(documents, config.most_documents)), config, folder
    )
    files = merge_words(partial, config, folder)
    for path in partial.values():
        path.unlink()
    return files


def load_tokenizer(path: Path, end_of_document: str = END_OF_TEXT) -> Any:
    """Load a tokenizer from a JSON file, for documents that end with the token `end_of_document`.

    What the file says of truncation and padding is for other uses: documents are encoded whole. Raises ValueError if
    the file is invalid or lacks that token.
    """
    return end_documents_with(read_tokenizer(path), end_of_document, path)


def end_documents_with(tokenizer: Any, end_of_document: str, path: Path) -> Any:
    """The tokenizer of `path`, for whole documents that end with that token. Raises ValueError if it lacks it."""
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


def first_documents(documents: Iterator[pa.Table], most: int) -> Iterator[pa.Table]:
    """The first `most` documents."""
    left = most
    for table in documents:
        yield table.slice(0, left)
        left = max(left - table.num_rows, 0)


def _untrained() -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


def _bytes_of_characters() -> dict[str, int]:
    """The byte that each character of byte-level BPE stands for: its own, or in order one that has no character."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    own = {character: ord(character) for character in alphabet if ord(character) < 256}
    others = sorted({*range(256)} - {*own.values()})
    return own | dict(zip((character for character in alphabet if character not in own), others, strict=True))
