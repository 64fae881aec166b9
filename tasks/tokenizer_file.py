"""Judges a tokenizer file before anything is encoded with it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from infra.budget import Budget
from infra.child import ChildDied, run_in_child
from infra.store.digests import sha256_file
from infra.store.roots import require_inside
from tasks.encoding.forms import files_of_tokenizer, open_files
from tasks.tokenizer import END_OF_TEXT, TOKENIZER_FILE

_LARGEST_FILE = 256 << 20  # those of 250,000 tokens have 20 MiB
# How much longer a normaliser may make a text, in characters. Those of published models make it no longer.
_MOST_GROWTH = 64
# A file of 250,000 tokens is loaded in seconds, and the samples are encoded in one.
_TRIAL = Budget(seconds=30.0, memory_bytes=4 << 30)
_SAMPLE = 5_000
_CHARACTERS = "aA0 \n\t!'-_.=\u00e9\u4e2d\u0301\u200d"


def tokenizer_faults(file: str | None, end_of_document: str = END_OF_TEXT) -> list[str]:
    """The faults of a recipe's tokenizer file. Empty if it is usable, or if none is named."""
    if file is None:
        return []
    path = Path(file)
    require_inside(path, "the tokenizer file")
    try:
        files = files_of_tokenizer(path)
        digests = tuple((name, own, sha256_file(own)) for name, own in files.items())
        return [f"tokenizer.file: {path} {fault}" for fault in _faults_of(digests, end_of_document)]
    except (ValueError, OSError) as error:
        return [f"tokenizer.file: {error}" if str(path) in str(error) else f"tokenizer.file: {path}: {error}"]


def try_tokenizer(files: dict[str, Path], end_of_document: str) -> list[str]:
    """What is wrong with a tokenizer, found by using it on samples. Raises ValueError if it cannot be used at all."""
    # As in training, where special tokens spelled out in a text are text.
    opened = open_files(files, end_of_document)
    tokenizer, content = opened.tokenizer, json.loads(opened.tokenizer.to_str())
    if TOKENIZER_FILE in files:  # the library corrects ids of added tokens when it loads them
        content = json.loads(files[TOKENIZER_FILE].read_bytes())
    faults = [*_wrong_ids(tokenizer, content)]
    end = tokenizer.token_to_id(end_of_document)
    spelled = opened.encode([end_of_document, f"a{end_of_document}b", f"a {end_of_document} b"])
    if any(end in ids for ids in spelled):
        faults.append(f"encodes a literal {end_of_document} in a text as the token that ends a document")
    encoded = opened.encode([*_samples(content)])
    if not encoded[0]:
        faults.append("encodes plain text as no tokens")
    return faults


@cache
def _faults_of(digests: tuple[tuple[str, Path, str], ...], end_of_document: str) -> tuple[str, ...]:
    """The faults of files, once for these contents and this token."""
    files = {name: path for name, path, _ in digests}
    if any(path.stat().st_size > _LARGEST_FILE for path in files.values()):
        return (f"has more than {_LARGEST_FILE >> 20} MiB",)
    if TOKENIZER_FILE in files:
        try:
            content = json.loads(files[TOKENIZER_FILE].read_bytes())
        except (ValueError, RecursionError) as error:
            return (f"is not a tokenizer of the `tokenizers` library: it is not JSON ({error})",)
        growth = _growth(content.get("normalizer") if isinstance(content, dict) else None)
        if growth > _MOST_GROWTH:
            told = f"has normalizers that make a text {growth:.3g} times as long; at most {_MOST_GROWTH} is allowed"
            return (told,)
    try:
        return tuple(run_in_child(try_tokenizer, files, end_of_document, budget=_TRIAL))
    except ChildDied as error:
        return (f"cannot be used: the process that encoded samples with it {error}",)


def _wrong_ids(tokenizer: Any, content: dict[str, Any]) -> Iterator[str]:
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    ids = set(vocabulary.values())
    if len(ids) < len(vocabulary):
        yield f"gives {len(vocabulary)} tokens {len(ids)} ids: every token needs an id of its own"
    elif ids != set(range(len(ids))):
        missing = min(set(range(len(ids))) - ids)
        yield (
            f"has {len(ids)} tokens with ids up to {max(ids)}, and none with the id {missing}: ids must be numbered "
            "from 0 without gaps, because a model has one row for each"
        )
    for token in content.get("added_tokens") or ():
        declared, real = token["id"], tokenizer.token_to_id(token["content"])
        if declared != real:
            yield f"says that {token['content']!r} has the id {declared}, but its vocabulary makes it {real}"
            return


def _growth(normalizer: Any) -> float:
    """The most characters that a normaliser makes of one character, by its replacements."""
    if not isinstance(normalizer, dict):
        return 1.0
    growth = 1.0
    for inner in normalizer.get("normalizers") or ():
        growth *= _growth(inner)
    content, pattern = normalizer.get("content"), normalizer.get("pattern")
    if isinstance(content, str) and isinstance(pattern, dict):
        growth *= max(1.0, len(content) / _shortest(pattern))
    return growth


def _shortest(pattern: dict[str, Any]) -> float:
    """The fewest characters that a pattern replaces. An empty match is between two characters: a half."""
    if isinstance(pattern.get("String"), str):
        return len(pattern["String"]) or 0.5
    try:
        return 0.5 if re.compile(str(pattern.get("Regex"))).search("") else 1.0
    except (re.error, RecursionError, OverflowError):
        return 0.5


def _samples(content: Any) -> Iterator[str]:
    """Texts that show how a file's patterns behave: plain, and runs of characters, among them those of the patterns."""
    yield "What the mill has ground, 2 of 3 bakers buy: caf\u00e9s don't.\n\n  \u4e2d\u6587 \U0001f600"
    patterns = "".join(_patterns(content))[:10_000]
    characters = [*dict.fromkeys(_CHARACTERS + patterns)][:200]
    # A search gives up at once where a character that a match needs is not in the text.
    end = "\0" + "".join(characters)
    for character in characters:
        yield character * _SAMPLE + end
    yield "".join(characters) * (_SAMPLE // len(characters))
    for first, second in [*dict.fromkeys(itertools.pairwise(patterns))][:400]:
        yield (first + second) * (_SAMPLE // 2) + end


def _patterns(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "Regex" and isinstance(item, str):
                yield item
            elif name != "vocab":
                yield from _patterns(item)
    elif isinstance(value, list):
        for item in value[:1000]:
            yield from _patterns(item)
