"""What a tokens artifact holds: the token files of each source, and the summary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.ledger import BooksDoNotBalance
from infra.store.manifest import Manifest, Part, read_part
from infra.store.schema import Count, Digest, parse_json, read_value
from infra.store.token_files import pair_digest
from tasks.lineage import LINEAGE_SUFFIX
from tasks.tokenizer import END_OF_TEXT

SUMMARY_FILE = "summary.json"
VALIDATION = ".validation"
HELD_OUT = ".held-out"
SPLITS = ("", VALIDATION, HELD_OUT)
TOKENS_VERSION = 3
_SPLIT = rf"{re.escape(VALIDATION)}|{re.escape(HELD_OUT)}"
_PART = rf"(?P<part>(?!(?:{_SPLIT})\.)\.[a-z0-9][a-z0-9_-]*)?"
_ONE_FILE = re.compile(rf"(?P<source>.+?)(?P<split>{_SPLIT}|)\.bin")
_FILES = re.compile(rf"(?P<source>.+)-\d{{5,}}{_PART}(?P<split>{_SPLIT}|)\.bin")


@dataclass(frozen=True, slots=True)
class TokenParts:
    """The parts of one token file; artifacts of the first versions may lack the lineage."""

    bin: Part
    idx: Part
    lineage: Part | None


def part_name(source: str, part: str) -> str:
    """The name of a part of a source, in the mixture and in files."""
    return f"{source}.{part}"


def token_files(tokens: Manifest, split: str = "") -> dict[str, list[TokenParts]]:
    """The files of each source, or of each of its parts, in order, that hold its documents of a split.

    Version 2 of the stage wrote one pair of files for each source and split. Raises Corrupt if an index is missing.
    """
    pattern = _FILES if tokens.version >= TOKENS_VERSION else _ONE_FILE
    parts = {part.name: part for part in tokens.parts}
    found: dict[str, list[TokenParts]] = {}
    for part in tokens.parts:  # those of a source are in order
        matched = pattern.fullmatch(part.name)
        if matched is None or matched["split"] != split:
            continue
        stem = part.name.removesuffix(".bin")
        if f"{stem}.idx" not in parts:
            raise Corrupt(f"{tokens.path} lists {part.name} without {stem}.idx: delete it, then build again")
        pair = TokenParts(part, parts[f"{stem}.idx"], parts.get(f"{stem}{LINEAGE_SUFFIX}"))
        found.setdefault(matched["source"] + (matched.groupdict().get("part") or ""), []).append(pair)
    return found


def token_digests(lake: Lake, tokens: Manifest, split: str = "") -> dict[str, str]:
    """The digest of the tokens of each source, as a run has it. Raises as `read_summary` does."""
    files = token_files(tokens, split)
    if tokens.version < TOKENS_VERSION:
        return {source: pair_digest(pair.bin.sha256, pair.idx.sha256) for source, [pair] in files.items()}
    counted = read_summary(lake, tokens)["sources"]
    found = {source: counted.get(f"{source}{split}", {}).get("digest") for source in files}
    if missing := [source for source, digest in found.items() if digest is None]:
        raise Corrupt(
            f"{lake.uri}/{tokens.path}: the summary has no digest of {missing[0]}: delete it, then build again"
        )
    return found


def read_summary(lake: Lake, tokens: Manifest) -> dict[str, Any]:
    """The summary of a tokens artifact: vocabulary, mixture, and documents and tokens of each source.

    ``end_of_document`` is the token behind every document, and ``end_of_text`` is its id.

    Raises Corrupt for one that changed, or that these tokens lack.
    """
    part = next((part for part in tokens.parts if part.name == SUMMARY_FILE), None)
    if part is None:
        raise Corrupt(f"{lake.uri}/{tokens.path} lists no {SUMMARY_FILE}: delete it, then build again")
    where = f"{lake.uri}/{part.path}"
    return asdict(read_value(_Summary, parse_json(read_part(lake, tokens, part), where), where))


@dataclass(frozen=True, slots=True)
class _Counts:
    documents: Count
    tokens: Count
    digest: Digest | None = None  # version 2 had one pair of files, whose digests are those of its parts


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
