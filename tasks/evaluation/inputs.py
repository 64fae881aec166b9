"""The inputs of an evaluation besides checkpoints: a run's tokens artifact, its held-out files and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import tokenizers

from infra.store.digests import sha256_file
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from infra.store.manifest import Manifest, fetch_part, read_manifest
from infra.store.token_files import open_tokens
from infra.store.tokens import TokenFile, Tokens
from tasks.lineage import tokens_with
from tasks.runs import read_run_record
from tasks.token_artifact import HELD_OUT, TokenParts, token_files
from tasks.tokenizer import TOKENIZER_FILE, load_tokenizer

TOKENS_STAGE = "tokens"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out documents of one source: the token files, and their lineages with the ids in the same order."""

    source: str
    files: tuple[TokenParts, ...]

    @property
    def identity(self) -> list[str]:
        """The digests that identify the tokens."""
        return [self.source, *(part.sha256 for file in self.files for part in (file.bin, file.idx))]

    def open(self, lake: Lake, cache: Path) -> Tokens:
        """Open the tokens from verified local copies in the folder `cache`."""
        return open_tokens(
            [TokenFile(fetch_part(lake, file.bin, cache), fetch_part(lake, file.idx, cache)) for file in self.files]
        )

    def ids(self, lake: Lake, cache: Path) -> list[str]:
        """The ids of the documents, in order. Raises Corrupt if a file has no lineage."""
        found: list[str] = []
        for file in self.files:
            if file.lineage is None:
                raise Corrupt(f"{lake.uri}: {file.bin.name} has no lineage: build the tokens again")
            found += pq.read_table(fetch_part(lake, file.lineage, cache), columns=["id"])["id"].to_pylist()
        return found


@dataclass(frozen=True, slots=True)
class Text:
    """A document. Documents of the same `group` are similar enough to serve as each other's distractors."""

    id: str
    text: str
    group: str


def tokens_artifact(lake: Lake, key: str) -> Manifest:
    """The tokens artifact with that key. Raises NotThere if there is none."""
    manifest = read_manifest(lake, TOKENS_STAGE, key)
    if manifest is None:
        raise NotThere(f"{lake.uri} has no tokens with the key {key}; `millrace artifacts` lists them")
    return manifest


def tokens_of_run(lake: Lake, run: str) -> Manifest:
    """The tokens artifact whose files the run was trained on.

    Raises NotThere if the run or its artifact is missing, and ValueError if several artifacts contain these files but
    differ in the files that an evaluation reads.
    """
    trained_on = {part.sha256 for part in read_run_record(lake, run).files}
    found = list(tokens_with(lake, trained_on))
    if not found:
        raise NotThere(f"{lake.uri} has no tokens artifact with the files of run {run}; build its corpus again")
    if len({_evaluated(one) for one in found}) > 1:
        keys = ", ".join(one.key for one in found)
        raise ValueError(
            f"run {run}: its token files are in several artifacts ({keys}), which hold out different documents"
        )
    return found[0]


def _evaluated(tokens: Manifest) -> tuple[str, ...]:
    """The files of an artifact that an evaluation reads; the rest, such as the mixture, may differ."""
    return tuple(sorted(part.sha256 for part in tokens.parts if HELD_OUT in part.name or part.name == TOKENIZER_FILE))


def held_out_files(tokens: Manifest) -> list[HeldOut]:
    """The held-out files of a tokens artifact, by source. Raises ValueError if it has none."""
    found = token_files(tokens, HELD_OUT)
    if not found:
        raise ValueError(
            f"the tokens {tokens.key} have no held-out documents to evaluate on; set `held_out_every` in the recipe's "
            "tokens and build again"
        )
    return [HeldOut(source, tuple(files)) for source, files in sorted(found.items())]


def held_out_texts(lake: Lake, tokens: Manifest, tokenizer: tokenizers.Tokenizer, cache: Path) -> Iterator[Text]:
    """The held-out documents, decoded from their tokens, in file order; the group of each is its source."""
    for held_out in held_out_files(tokens):
        file = held_out.open(lake, cache)
        for number, identity in enumerate(held_out.ids(lake, cache)):
            # Decoding omits the end-of-text token, which is special.
            yield Text(identity, tokenizer.decode(file.document(number).tolist()), held_out.source)


def fetch_tokenizer(lake: Lake, tokens: Manifest, cache: Path) -> Path:
    """Fetch the tokenizer of these tokens, which is stored with them. The file is read-only."""
    [part] = [part for part in tokens.parts if part.name == TOKENIZER_FILE]
    return fetch_part(lake, part, cache)


def open_tokenizer(path: Path, tokens: Manifest, end_of_document: str) -> tokenizers.Tokenizer:
    """Open a tokenizer file, for documents that end with `end_of_document`.

    Raises ValueError if it is not the tokenizer of these tokens.
    """
    found = sha256_file(path)
    [expected] = [part.sha256 for part in tokens.parts if part.name == TOKENIZER_FILE]
    if found != expected:
        raise ValueError(f"{path} has sha256 {found}, but the tokens {tokens.key} were made with {expected}")
    tokenizer = load_tokenizer(path, end_of_document)
    # As in training, where a special token spelled in a text is text.
    tokenizer.encode_special_tokens = True
    return tokenizer
