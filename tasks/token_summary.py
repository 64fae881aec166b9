"""The summary of a tokens artifact, and the tokenizer that goes with it: what is made of all groups of token files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.engine.group_steps import Group
from infra.store.token_files import JoinedDigest
from infra.store.tokens import TokenFile
from tasks.encoding.forms import open_files
from tasks.token_artifact import SPLITS, SUMMARY_FILE
from tasks.tokenizer import END_OF_TEXT, SENTENCEPIECE_FILE, TOKENIZER_FILE

if TYPE_CHECKING:
    from tasks.tokens import TokensConfig


def finish_tokens(
    groups: Sequence[Group], config: TokensConfig, folder: Path, tokenizer_files: Mapping[str, Path]
) -> dict[str, Path]:
    """Write ``summary.json``, with counts and digest of each source, and the tokenizer.

    That is ``tokenizer.json``, and a SentencePiece model as it is, too.

    Documents without tokens are counted as ``not_encoded``, by source. The summary names `end_of_document` unless it is
    ``<|endoftext|>``. Raises ValueError if the mixture lacks a source of the corpus, or a part of one.
    """
    tokenizer = open_files(tokenizer_files, config.end_of_document).tokenizer
    sources: dict[str, dict[str, Any]] = {}
    failed: dict[str, int] = {}
    mixed = config.mixture or config.epochs
    for source in dict.fromkeys(group.source for group in groups):
        own = [group for group in groups if group.source == source]
        counted = {f"{source}{end}": _counted(own, end, folder) for end in _ends(own)}
        sources |= counted
        encoded = sum(counts["documents"] for counts in counted.values())
        if missing := sum(group.rows for group in own) - encoded:
            failed[source] = missing
        names = {name for name in counted if not name.endswith(SPLITS[1:])} if source in config.parts else {source}
        if unknown := names - set(mixed) if source not in config.splits else ():
            raise ValueError(f"the corpus has {min(unknown)}, which the mixture lacks")
    mixture = config.mixture or mixture_of(config.epochs, sources)
    summary = write_summary(folder, tokenizer, sources, mixture, config.end_of_document, failed)
    return summary | keep_tokenizer(folder, tokenizer_files, tokenizer)


def write_summary(
    folder: Path,
    tokenizer: Any,
    sources: Mapping[str, Mapping[str, Any]],
    mixture: Mapping[str, float],
    end_of_document: str,
    failed: Mapping[str, int] = {},
) -> dict[str, Path]:
    """Write ``summary.json``; returns its file by name. `failed` counts the documents without tokens, by source."""
    summary: dict[str, Any] = {
        "vocabulary": tokenizer.get_vocab_size(with_added_tokens=True),
        "end_of_text": tokenizer.token_to_id(end_of_document),
        "mixture": mixture,
        "sources": sources,
    }
    if end_of_document != END_OF_TEXT:
        summary["end_of_document"] = end_of_document
    if failed:
        summary["not_encoded"] = failed
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, sort_keys=True))
    return {SUMMARY_FILE: folder / SUMMARY_FILE}


def keep_tokenizer(folder: Path, files: Mapping[str, Path], tokenizer: Any) -> dict[str, Path]:
    """Put a tokenizer beside its tokens, wherever it was loaded from; returns its files by name.

    Readers of the tokens find ``tokenizer.json``, whatever form it had; a SentencePiece model is there as it is, too.
    """
    written = {TOKENIZER_FILE: folder / TOKENIZER_FILE}
    if TOKENIZER_FILE not in files:
        tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    for name in (TOKENIZER_FILE, SENTENCEPIECE_FILE):
        if name in files:
            written[name] = folder / name
            shutil.copyfile(files[name], folder / name)
    return written


def mixture_of(epochs: Mapping[str, float], sources: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Source → share of training, if each source's tokens are seen `epochs` times."""
    seen = {name: times * sources.get(name, {"tokens": 0})["tokens"] for name, times in epochs.items()}
    total = sum(seen.values())
    return {name: count / total for name, count in seen.items()} if total else dict.fromkeys(epochs, 1 / len(epochs))


def _ends(groups: Sequence[Group]) -> list[str]:
    """What follows the source in the names of its parts and splits that have documents."""
    return sorted({name.removesuffix(".bin") for group in groups for name in group.parts if name.endswith(".bin")})


def _counted(groups: Sequence[Group], end: str, folder: Path) -> dict[str, Any]:
    """Documents, tokens and digest of a split of a source, or of a part of it."""
    with JoinedDigest(folder) as joined:
        for group in groups:
            if f"{end}.bin" in group.parts:
                with group.open(f"{end}.bin") as bin_path, group.open(f"{end}.idx") as idx_path:
                    joined.add(TokenFile(bin_path, idx_path))
        return {"documents": joined.documents, "tokens": joined.tokens, "digest": joined.digest()}
