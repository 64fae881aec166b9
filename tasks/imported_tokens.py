"""Token files of other systems as a build: Megatron's `.bin` and `.idx`, with the tokenizer that made them."""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.engine.fitting import store_files
from infra.store.digests import key_of, sha256_file
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, artifact_digest, write_manifest
from infra.store.roots import require_inside
from infra.store.token_files import JoinedDigest
from infra.store.tokens import TokenFile
from tasks.builds import TOKENS, BuildRecord, write_build
from tasks.encoding.forms import files_of_tokenizer, open_files
from tasks.recipe.source import NAME_RULE, SOURCE_NAME
from tasks.token_artifact import SPLITS, TOKENS_VERSION
from tasks.token_summary import keep_tokenizer, mixture_of, write_summary
from tasks.tokenizer import END_OF_TEXT
from tasks.tokenizer_file import tokenizer_faults

_BLOCK = 1 << 24  # tokens that are looked at together


class TokensRefused(ValueError):
    """Files that cannot be imported."""


@dataclass(frozen=True)
class TokenSource:
    """Pairs of files that are a source, or a split of one, one after the other. A pair is named without its end."""

    name: str
    pairs: tuple[Path, ...]
    split: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(SOURCE_NAME, self.name) or self.split not in SPLITS or not self.pairs:
            raise TokensRefused(f"{self.name!r} is no name of a source, or has no files: {NAME_RULE}")


def import_tokens(
    lake: Lake, name: str, sources: Sequence[TokenSource], tokenizer: Path, end_of_document: str = END_OF_TEXT
) -> BuildRecord:
    """Copy token files into the lake, and record them as a build that runs can be trained on.

    Every source is read once in an epoch: its share is that of its tokens. Raises TokensRefused for a tokenizer or for
    files that cannot be used, and for ids that the tokenizer does not have; Corrupt for damaged files.
    """
    if faults := tokenizer_faults(str(tokenizer), end_of_document):
        raise TokensRefused(faults[0])
    files = files_of_tokenizer(tokenizer)
    opened = open_files(files, end_of_document).tokenizer
    vocabulary: int = opened.get_vocab_size(with_added_tokens=True)
    with tempfile.TemporaryDirectory(prefix="millrace-import-") as scratch:
        folder = Path(scratch)
        written: dict[str, Path] = {}
        counted: dict[str, dict[str, Any]] = {}
        for source in sources:
            if source.name + source.split in counted:
                raise TokensRefused(f"{source.name}{source.split} is given twice: list its files together")
            counted[source.name + source.split] = _check(source, vocabulary, folder)
            written |= _named(source)
        if lacking := sorted({source.name for source in sources} - set(counted)):
            raise TokensRefused(f"{lacking[0]} has no files to train on, only other splits: name some")
        trained = [name for name in counted if not name.endswith(SPLITS[1:])]
        mixture = mixture_of(dict.fromkeys(trained, 1.0), counted)
        written |= write_summary(folder, opened, counted, mixture, end_of_document)
        parts = store_files(lake, written | keep_tokenizer(folder, files, opened))
    documents = sum(one["documents"] for one in counted.values())
    tokens = sum(one["tokens"] for one in counted.values())
    config = {"imported": True, "end_of_document": end_of_document}
    manifest = Manifest(
        key=key_of({"imported": [[part.name, part.sha256] for part in parts], "config": config}),
        digest=artifact_digest(parts),
        stage=TOKENS,
        version=TOKENS_VERSION,
        config=config,
        inputs={},
        libraries={},
        models={own: sha256_file(path) for own, path in files.items()},
        parts=tuple(parts),
        account=Account(rows_in=documents, kept=documents),
        details={},
        cost={"worker_seconds": 0.0, "worker_requests": 0, "worker_peak": 0},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    write_manifest(lake, manifest)
    recipe = {"name": name, "sources": {source.name: {"imported": True} for source in sources}}
    made = {TOKENS: manifest}
    record = BuildRecord.make(recipe, made, ledger=[], source_ledgers={}, documents=documents, tokens=tokens)
    write_build(lake, record)
    return record


def _check(source: TokenSource, vocabulary: int, folder: Path) -> dict[str, Any]:
    """Documents, tokens and digest of a source. Raises TokensRefused for an id outside the vocabulary."""
    with JoinedDigest(folder) as joined:
        for pair in source.pairs:
            for end in (".bin", ".idx"):
                path = pair.with_name(pair.name + end)
                require_inside(path, "the token file")
                if not path.is_file():
                    raise TokensRefused(f"there is no file {path}: name a pair of .bin and .idx without its end")
            file = TokenFile(pair.with_name(f"{pair.name}.bin"), pair.with_name(f"{pair.name}.idx"))
            for first in range(0, file.tokens, _BLOCK):
                block = file.read(first, min(_BLOCK, file.tokens - first))
                low, high = int(np.min(block)), int(np.max(block))
                if low < 0 or high >= vocabulary:
                    wrong = first + int(np.flatnonzero((block < 0) | (block >= vocabulary))[0])
                    raise TokensRefused(
                        f"{file.name}: token {wrong} is {int(file.read(wrong, 1)[0])}, but the tokenizer has "
                        f"{vocabulary} tokens: give the tokenizer that made these files"
                    )
            joined.add(file)
        if not joined.tokens:
            raise TokensRefused(f"{source.pairs[0]}: there are no tokens")
        return {"documents": joined.documents, "tokens": joined.tokens, "digest": joined.digest()}


def _named(source: TokenSource) -> dict[str, Path]:
    """The files by their names in the artifact."""
    return {
        f"{source.name}-{number:05d}{source.split}{end}": pair.with_name(pair.name + end)
        for number, pair in enumerate(source.pairs)
        for end in (".bin", ".idx")
    }
