"""Tokens: encodes every document and writes one Megatron file pair per source, with the lineage of every document."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from infra.stage import StageConfig, StageKind, stage
from infra.store.digests import sha256_bytes
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.ledger import BooksDoNotBalance
from infra.store.manifest import Manifest
from infra.store.schema import Count, parse_json, read_value
from infra.store.tokens import TokenWriter
from tasks.encoding.encoder import Encoder
from tasks.lineage import LINEAGE_SCHEMA, LINEAGE_SUFFIX
from tasks.tokenizer import END_OF_TEXT, TOKENIZER_FILE, load_tokenizer

SUMMARY_FILE = "summary.json"
VALIDATION = ".validation"
HELD_OUT = ".held-out"


class EndOfDocument(StageConfig):
    """`end_of_document` is the token behind every document. Only another than ``<|endoftext|>`` enters keys."""

    end_of_document: str = pydantic.Field(END_OF_TEXT, min_length=1, exclude_if=lambda token: token == END_OF_TEXT)


class EncodeConfig(EndOfDocument):
    """`end_of_text`: whether a special token spelled in a text becomes that token, as in GPT-NeoX."""

    end_of_text: bool = False


def load_encoder(config: EncodeConfig, files: Mapping[str, Path]) -> Encoder:
    """Load the tokenizer from the only file in `files`."""
    [path] = files.values()
    tokenizer = load_tokenizer(path, config.end_of_document)
    tokenizer.encode_special_tokens = not config.end_of_text
    return Encoder(tokenizer)


@stage(
    "encode",
    version=3,
    kind=StageKind.annotate,
    config=EncodeConfig,
    # The two give the same ids where they were compared. Which one encoded is not recorded, so both versions are.
    libraries=["tokenizers", "gigatoken"],
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
    """

    mixture: dict[str, float] = pydantic.Field(default_factory=dict)
    epochs: dict[str, float] = pydantic.Field(default_factory=dict)
    held_out_every: int = pydantic.Field(0, ge=0)
    validation: float = pydantic.Field(0.0, ge=0, lt=1)

    @pydantic.field_validator("mixture", "epochs")
    @classmethod
    def _shares(cls, mixture: dict[str, float]) -> dict[str, float]:
        if any(share <= 0 for share in mixture.values()):
            raise ValueError(f"shares and epochs must be above 0, not {mixture}")
        return mixture


def find_tokenizer_file(config: TokensConfig, files: Mapping[str, Path]) -> Path:
    """The only file in `files`."""
    [path] = files.values()
    return path


@stage(
    "tokens",
    version=2,
    kind=StageKind.fit,
    config=TokensConfig,
    libraries=["numpy", "pyarrow"],
    load=find_tokenizer_file,
    columns=["id", "url", "source", "cluster", "encode.ids"],
)
def write_tokens(
    documents: Iterator[pa.Table], config: TokensConfig, folder: Path, tokenizer_file: Path
) -> dict[str, Path]:
    """Write ``SOURCE.bin``, ``.idx`` and ``.lineage.parquet`` per source, ``tokenizer.json`` and ``summary.json``.

    A document that could not be encoded is in no file; the summary counts it as ``not_encoded``, by source. The
    documents that are split off go to files named ``SOURCE.validation`` and ``SOURCE.held-out``. A source without any
    documents left has no files. Each document ends with `end_of_document` (GPT-NeoX, ``--append-eod``), which the
    summary names unless it is ``<|endoftext|>``. Raises ValueError if the mixture lacks a source of the corpus, or if
    the corpus has no clusters for a validation split.
    """
    tokenizer = load_tokenizer(tokenizer_file, config.end_of_document)
    end: int = tokenizer.token_to_id(config.end_of_document)
    vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)
    files: dict[str, _SourceFiles] = {}
    seen: dict[str, int] = {}
    failed: dict[str, int] = {}
    with ExitStack() as stack:
        for table in documents:
            ids = table["encode.ids"].combine_chunks()
            encoded = ids.is_valid().to_numpy(zero_copy_only=False)
            offsets = ids.offsets.to_numpy()
            values = ids.values.to_numpy()
            rows = zip(*(_column(table, name, config) for name in ("id", "url", "source", "cluster")), strict=True)
            for row, (identity, url, source, cluster) in enumerate(rows):
                seen[source] = seen.get(source, 0) + 1
                if not encoded[row]:
                    failed[source] = failed.get(source, 0) + 1
                    continue
                name = source
                if in_validation(cluster or identity, config.validation):
                    name += VALIDATION
                elif config.held_out_every > 0 and seen[source] % config.held_out_every == 0:
                    name += HELD_OUT
                if name not in files:
                    files[name] = _SourceFiles(stack, folder, name, vocabulary)
                files[name].append(identity, url, np.append(values[offsets[row] : offsets[row + 1]], end))
    mixture = config.mixture or _mixture_of(config.epochs, {name: item.writer.tokens for name, item in files.items()})
    if unknown := set(seen) - set(mixture):
        raise ValueError(f"the corpus has the sources {sorted(unknown)}, which the mixture lacks")
    summary = {
        "vocabulary": vocabulary,
        "end_of_text": end,
        "mixture": mixture,
        "sources": {name: {"documents": len(item.ids), "tokens": item.writer.tokens} for name, item in files.items()},
    }
    if config.end_of_document != END_OF_TEXT:
        summary["end_of_document"] = config.end_of_document
    if failed:
        summary["not_encoded"] = failed
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, sort_keys=True))
    # Readers of the tokens need their tokenizer, wherever it was loaded from.
    shutil.copyfile(tokenizer_file, folder / TOKENIZER_FILE)
    written = {SUMMARY_FILE: folder / SUMMARY_FILE, TOKENIZER_FILE: folder / TOKENIZER_FILE}
    for item in files.values():
        written |= item.written()
    return written


def in_validation(name: str, share: float) -> bool:
    """Whether a cluster, or a document in no cluster, with this name belongs to the validation share."""
    place = int.from_bytes(hashlib.sha256(f"validation/{name}".encode()).digest()[:8], "little")
    return place < share * 2**64


def read_summary(lake: Lake, tokens: Manifest) -> dict[str, Any]:
    """The summary of a tokens artifact: vocabulary, mixture, and documents and tokens of each source.

    ``end_of_document`` is the token behind every document, and ``end_of_text`` is its id.

    Raises Corrupt for one that changed, or that these tokens lack.
    """
    part = next((part for part in tokens.parts if part.name == SUMMARY_FILE), None)
    if part is None:
        raise Corrupt(f"{lake.uri}/{tokens.path} lists no {SUMMARY_FILE}: delete it, then build again")
    data = lake.read(part.path)
    where = f"{lake.uri}/{part.path}"
    if sha256_bytes(data) != part.sha256:
        raise Corrupt(f"{where} ({part.name}): its bytes changed. Run `millrace verify {tokens.key[:12]} --forget`.")
    return asdict(read_value(_Summary, parse_json(data, where), where))


@dataclass(frozen=True, slots=True)
class _Counts:
    documents: Count
    tokens: Count


@dataclass(frozen=True, slots=True)
class _Summary:
    vocabulary: Count
    end_of_text: Count
    mixture: dict[str, float]
    sources: dict[str, _Counts]
    end_of_document: str = END_OF_TEXT
    not_encoded: dict[str, Count] = field(default_factory=dict)


def count_tokens(lake: Lake, tokens: Manifest, corpora: Iterable[Manifest]) -> int:
    """The number of tokens of an artifact. Raises BooksDoNotBalance unless it accounts for all documents."""
    summary = read_summary(lake, tokens)
    sources = summary["sources"]
    written = sum(source["documents"] for source in sources.values())
    rows = sum(corpus.rows for corpus in corpora)
    if written + sum(summary.get("not_encoded", {}).values()) != rows:
        raise BooksDoNotBalance(f"the corpus has {rows} documents, but its token files have {written}")
    return sum(source["tokens"] for source in sources.values())


def _mixture_of(epochs: Mapping[str, float], tokens: Mapping[str, int]) -> dict[str, float]:
    """Source → share of training, if each source's tokens are seen `epochs` times."""
    seen = {name: times * tokens.get(name, 0) for name, times in epochs.items()}
    total = sum(seen.values())
    return {name: count / total for name, count in seen.items()} if total else dict.fromkeys(epochs, 1 / len(epochs))


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


class _SourceFiles:
    """The open files of one source."""

    def __init__(self, stack: ExitStack, folder: Path, name: str, vocabulary: int) -> None:
        self._folder, self._name = folder, name
        self.writer = stack.enter_context(TokenWriter(folder / f"{name}.bin", folder / f"{name}.idx", vocabulary))
        self.ids: list[str] = []
        self._urls: list[str | None] = []
        self._starts: list[int] = []
        self._sizes: list[int] = []

    def append(self, identity: str, url: str | None, ids: np.ndarray[Any, Any]) -> None:
        self._starts.append(self.writer.tokens)
        self._sizes.append(ids.size)
        self.ids.append(identity)
        self._urls.append(url)
        self.writer.append(ids)

    def written(self) -> dict[str, Path]:
        columns = [range(len(self.ids)), self.ids, self._urls, self._starts, self._sizes]
        files = {suffix: self._folder / f"{self._name}{suffix}" for suffix in (".bin", ".idx", LINEAGE_SUFFIX)}
        pq.write_table(pa.table(columns, schema=LINEAGE_SCHEMA), files[LINEAGE_SUFFIX])
        return {path.name: path for path in files.values()}
