"""Tokens: every document encoded, then one Megatron pair of files per source, with the lineage of every document."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from infra.stage import Shape, StageConfig, stage
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.store.tokens import TokenWriter
from tasks.tokenizer import END_OF_TEXT, TOKENIZER_FILE, load_tokenizer

SUMMARY_FILE = "summary.json"
LINEAGE_SCHEMA = pa.schema(
    [("document", pa.int64()), ("id", pa.string()), ("first_token", pa.int64()), ("tokens", pa.int64())]
)


class EncodeConfig(StageConfig):
    """`end_of_text`: whether a literal ``<|endoftext|>`` in a text becomes the special token, as GPT-NeoX lets it."""

    end_of_text: bool = False


def load_encoder(config: EncodeConfig, files: Mapping[str, Path]) -> Any:
    """The tokenizer in the only file of `files`."""
    [path] = files.values()
    tokenizer = load_tokenizer(path)
    tokenizer.encode_special_tokens = not config.end_of_text
    return tokenizer


@stage(
    "encode",
    version=1,
    shape=Shape.annotate,
    config=EncodeConfig,
    libraries=["tokenizers"],
    load=load_encoder,
    schema=pa.schema([("ids", pa.list_(pa.int32()))]),
)
def encode(documents: pa.Table, config: EncodeConfig, tokenizer: Any) -> pa.Table:
    """The token ids of each document, without any special token added."""
    encoded = tokenizer.encode_batch_fast(documents["text"].to_pylist(), add_special_tokens=False)
    return pa.table({"ids": pa.array([item.ids for item in encoded], pa.list_(pa.int32()))})


class TokensConfig(StageConfig):
    """`mixture`: the share of each source in training, in tokens; held-out documents are no part of it.

    Every `held_out_every`-th document of a source goes to ``held-out`` files in place of the training files; 0
    holds none out.
    """

    mixture: dict[str, float] = pydantic.Field(default_factory=dict)
    held_out_every: int = pydantic.Field(0, ge=0)

    @pydantic.field_validator("mixture")
    @classmethod
    def _shares(cls, mixture: dict[str, float]) -> dict[str, float]:
        if any(share <= 0 for share in mixture.values()):
            raise ValueError(f"the shares of a mixture are above 0, and these are {mixture}")
        return mixture


def find_tokenizer_file(config: TokensConfig, files: Mapping[str, Path]) -> Path:
    """The only file of `files`."""
    [path] = files.values()
    return path


@stage(
    "tokens",
    version=1,
    shape=Shape.fit,
    config=TokensConfig,
    reads=["encode"],
    libraries=["numpy", "pyarrow"],
    load=find_tokenizer_file,
    columns=["id", "source"],
)
def write_tokens(
    documents: Iterator[pa.Table], config: TokensConfig, folder: Path, tokenizer_file: Path
) -> dict[str, Path]:
    """``SOURCE.bin``, ``.idx`` and ``.lineage.parquet`` for each source, ``tokenizer.json`` and ``summary.json``.

    A source of which no document is left has no files. Each document ends with the end-of-text token (GPT-NeoX,
    ``--append-eod``). The lineage maps a document's number in the ``.idx`` to its id and its span of tokens. Raises
    ValueError when the corpus has a source that the mixture does not name.
    """
    tokenizer = load_tokenizer(tokenizer_file)
    end: int = tokenizer.token_to_id(END_OF_TEXT)
    vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)
    files: dict[str, _SourceFiles] = {}
    seen: dict[str, int] = {}
    with ExitStack() as stack:
        for table in documents:
            ids = table["encode.ids"].combine_chunks()
            offsets = ids.offsets.to_numpy()
            values = ids.values.to_numpy()
            for row, (identity, source) in enumerate(
                zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True)
            ):
                seen[source] = seen.get(source, 0) + 1
                held_out = config.held_out_every > 0 and seen[source] % config.held_out_every == 0
                name = f"{source}.held-out" if held_out else source
                if name not in files:
                    files[name] = _SourceFiles(stack, folder, name, vocabulary)
                files[name].append(identity, np.append(values[offsets[row] : offsets[row + 1]], end))
    if unknown := set(seen) - set(config.mixture):
        raise ValueError(f"the corpus has the sources {sorted(unknown)}, of which the mixture says nothing")
    summary = {
        "vocabulary": vocabulary,
        "end_of_text": end,
        "mixture": config.mixture,
        "sources": {name: {"documents": len(item.ids), "tokens": item.writer.tokens} for name, item in files.items()},
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, sort_keys=True))
    # Whoever reads the tokens needs what they were made with, wherever that was loaded from.
    shutil.copyfile(tokenizer_file, folder / TOKENIZER_FILE)
    written = {SUMMARY_FILE: folder / SUMMARY_FILE, TOKENIZER_FILE: folder / TOKENIZER_FILE}
    for item in files.values():
        written |= item.written()
    return written


def read_summary(lake: Lake, tokens: Manifest) -> dict[str, Any]:
    """The summary of a token artifact: vocabulary, mixture, and documents and tokens of each source."""
    [part] = [part for part in tokens.parts if part.name == SUMMARY_FILE]
    summary: dict[str, Any] = json.loads(lake.read(part.path))
    return summary


class _SourceFiles:
    """The open files of one source."""

    def __init__(self, stack: ExitStack, folder: Path, name: str, vocabulary: int) -> None:
        self._folder, self._name = folder, name
        self.writer = stack.enter_context(TokenWriter(folder / f"{name}.bin", folder / f"{name}.idx", vocabulary))
        self.ids: list[str] = []
        self._starts: list[int] = []
        self._sizes: list[int] = []

    def append(self, identity: str, ids: np.ndarray[Any, Any]) -> None:
        self._starts.append(self.writer.tokens)
        self._sizes.append(ids.size)
        self.ids.append(identity)
        self.writer.append(ids)

    def written(self) -> dict[str, Path]:
        lineage = pa.table([range(len(self.ids)), self.ids, self._starts, self._sizes], schema=LINEAGE_SCHEMA)
        pq.write_table(lineage, self._folder / f"{self._name}.lineage.parquet")
        return {
            name: self._folder / name
            for name in (f"{self._name}.bin", f"{self._name}.idx", f"{self._name}.lineage.parquet")
        }
