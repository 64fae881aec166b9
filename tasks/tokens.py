"""Tokens: encodes every document and writes Megatron file pairs per source, with the lineage of every document.

``SOURCE-00000.bin``, ``.idx`` and ``.lineage.parquet`` hold the first group of shards of a source, and so on; read in
order, they are the source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pydantic

from infra.stage import StageConfig, StageKind, grouped, stage
from tasks.encoding.encoder import Encoder
from tasks.encoding.forms import open_files
from tasks.sources.fields import PART
from tasks.split_writer import SplitWriter
from tasks.token_artifact import HELD_OUT, TOKENS_VERSION, VALIDATION
from tasks.token_summary import finish_tokens
from tasks.tokenizer import END_OF_TEXT


class EndOfDocument(StageConfig):
    """`end_of_document` is the token behind every document. Only another than ``<|endoftext|>`` enters keys."""

    end_of_document: str = pydantic.Field(END_OF_TEXT, min_length=1, exclude_if=lambda token: token == END_OF_TEXT)


class EncodeConfig(EndOfDocument):
    """`end_of_text`: whether a special token spelled in a text becomes that token, as in GPT-NeoX."""

    end_of_text: bool = False


def load_encoder(config: EncodeConfig, files: Mapping[str, Path]) -> Encoder:
    """Load the tokenizer from its files."""
    return Encoder(open_files(files, config.end_of_document, special_are_text=not config.end_of_text))


@stage(
    "encode",
    version=2,
    kind=StageKind.annotate,
    config=EncodeConfig,
    # The two give the same ids where they were compared. Which one encoded is not recorded, so both versions are.
    libraries=["tokenizers", "gigatoken", "sentencepiece"],
    load=load_encoder,
    schema=pa.schema([("ids", pa.list_(pa.int32()))]),
)
def encode(documents: pa.Table, config: EncodeConfig, encoder: Encoder) -> pa.Table:
    """The token ids of each document, without special tokens."""
    ids = encoder.encode(documents["text"].combine_chunks())
    ends = np.cumsum([0, *(one.size for one in ids)], dtype=np.int64)
    values = np.concatenate([np.empty(0, np.int32), *ids])
    return pa.table({"ids": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, pa.int32()))})


class TokensConfig(EndOfDocument):
    """`mixture` is each source's share of training tokens, excluding the documents that are split off.

    With `epochs` instead, the share of a source follows from its number of tokens and of passes over them.

    `validation` is the share of near-duplicate clusters, and of documents in no cluster, that go to ``validation``
    files. A hash of the cluster's name, or of the document's id, selects them, so training never reads a near-copy of a
    validation document. Of the rest, every `held_out_every`-th document of a source goes to ``held-out`` files; 0
    disables this.

    The documents of the sources in `parts` name a part of it. Each part has token files, and a place in the mixture, of
    its own. All documents of a source in `splits` are in that split, and it has no place in the mixture.
    """

    mixture: dict[str, float] = pydantic.Field(default_factory=dict)
    epochs: dict[str, float] = pydantic.Field(default_factory=dict)
    held_out_every: int = pydantic.Field(0, ge=0)
    validation: float = pydantic.Field(0.0, ge=0, lt=1)
    parts: tuple[str, ...] = pydantic.Field((), exclude_if=lambda parts: not parts)
    splits: dict[str, Literal["validation", "held-out"]] = pydantic.Field(
        default_factory=dict, exclude_if=lambda splits: not splits
    )

    @pydantic.field_validator("mixture", "epochs")
    @classmethod
    def _shares(cls, mixture: dict[str, float]) -> dict[str, float]:
        if any(share <= 0 for share in mixture.values()):
            raise ValueError(f"shares and epochs must be above 0, not {mixture}")
        return mixture


def given_files(config: TokensConfig, files: Mapping[str, Path]) -> Mapping[str, Path]:
    """The tokenizer's files, by name."""
    return files


def of_group(config: TokensConfig, source: str, before: int) -> tuple[TokensConfig, int]:
    """What the files of a group depend on: not on shares of training, nor on how many documents are before it.

    Its place is where it begins within `held_out_every` documents.
    """
    every = config.held_out_every
    own = {
        "parts": tuple(name for name in config.parts if name == source),
        "splits": {name: split for name, split in config.splits.items() if name == source},
    }
    return config.model_copy(update={"mixture": {}, "epochs": {}, **own}), before % every if every else 0


def columns_of(config: TokensConfig) -> list[str]:
    """The columns that the files of a group are made of."""
    return ["id", "url", "cluster", "encode.ids", *(["metadata"] if config.parts else [])]


@grouped(
    "tokens",
    version=TOKENS_VERSION,
    config=TokensConfig,
    libraries=["numpy", "pyarrow"],
    load=given_files,
    columns=columns_of,
    finish=finish_tokens,
    of_group=of_group,
)
def write_tokens(
    documents: Iterable[pa.Table], config: TokensConfig, folder: Path, place: int, tokenizer_files: Mapping[str, Path]
) -> dict[str, Path]:
    """Write the ``.bin``, ``.idx`` and ``.lineage.parquet`` of a group of documents of one source.

    A document that could not be encoded is in no file. The documents that are split off go to ``.validation.bin`` and
    ``.held-out.bin``, and so on; a split without documents has no files. Where documents name a part of the source, its
    name is before that: ``.PART.held-out.bin``. Each document ends with `end_of_document`
    (GPT-NeoX, ``--append-eod``). `place` is where the group begins within `held_out_every` documents. Raises ValueError
    if the corpus has no clusters for a validation split.
    """
    tokenizer = open_files(tokenizer_files, config.end_of_document).tokenizer
    end: int = tokenizer.token_to_id(config.end_of_document)
    vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)
    whole = next((f".{split}" for split in config.splits.values()), None)
    files: dict[str, SplitWriter] = {}
    seen = place
    with ExitStack() as stack:
        for table in documents:
            ids = table["encode.ids"].combine_chunks()
            encoded = ids.is_valid().to_numpy(zero_copy_only=False)
            offsets = ids.offsets.to_numpy()
            values = ids.values.to_numpy()
            rows = zip(*(_column(table, name, config) for name in ("id", "url", "cluster")), strict=True)
            parts = _parts(table, config)
            for row, (identity, url, cluster) in enumerate(rows):
                seen += 1
                if not encoded[row]:
                    continue
                split = ""
                if whole is not None:
                    split = whole
                elif in_validation(cluster or identity, config.validation):
                    split = VALIDATION
                elif config.held_out_every > 0 and seen % config.held_out_every == 0:
                    split = HELD_OUT
                name = f"{parts[row]}{split}"
                if name not in files:
                    files[name] = stack.enter_context(SplitWriter(folder, name, vocabulary))
                files[name].append(identity, url, np.append(values[offsets[row] : offsets[row + 1]], end))
    return {name: path for writer in files.values() for name, path in writer.files.items()}


def in_validation(name: str, share: float) -> bool:
    """Whether a cluster, or a document in no cluster, with this name belongs to the validation share."""
    place = int.from_bytes(hashlib.sha256(f"validation/{name}".encode()).digest()[:8], "little")
    return place < share * 2**64


def _parts(table: pa.Table, config: TokensConfig) -> list[str]:
    """For each document the end of its files' names that its part adds; empty without parts."""
    if not config.parts:
        return [""] * table.num_rows
    return [f".{json.loads(metadata)[PART]}" for metadata in table["metadata"].to_pylist()]


def _column(table: pa.Table, name: str, config: TokensConfig) -> list[str | None]:
    """A column of the corpus; all null if the corpus is older than the column or lacks its stage."""
    if name in table.column_names:
        values: list[str | None] = table[name].to_pylist()
        return values
    if name == "cluster" and config.validation > 0:
        raise ValueError(
            "the corpus has no column cluster, which the validation split needs to keep near-duplicates together: it "
            "was written by an older version, so build it again"
        )
    return [None] * table.num_rows
