"""The documents that a text classifier may be trained on: each in a line, with its class, its site and its rank."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pyarrow as pa

from tasks.text.fasttext_line import one_line, words_of
from tasks.text.urls import domain_of
from tasks.text_classifier.config import NEGATIVE, POSITIVE, TextClassifierConfig

# Rows are documents; the last of a shard has no label, and in `text` the counts of the shard.
ROWS = pa.schema(
    [
        ("partition", pa.int32()),
        ("label", pa.string()),
        ("rank", pa.int64()),
        ("site", pa.string()),
        ("words", pa.int64()),
        ("text", pa.string()),
    ]
)
_LONGEST = 1 << 16  # characters of a document that are looked at


def columns_of(config: TextClassifierConfig) -> list[str]:
    """The columns that `find_candidates` reads."""
    return ["id", "text", "url", "source", *(["language.label"] if config.language is not None else [])]


def find_candidates(documents: pa.Table, config: TextClassifierConfig) -> pa.Table:
    """The documents of a shard that count, and how many do not, by reason.

    The rank is a hash of the id, so that the lowest ranks are a random sample, whatever the order of documents.
    """
    counts = {POSITIVE: Counter[str](), NEGATIVE: Counter[str]()}
    rows: list[tuple[object, ...]] = []
    languages = documents["language.label"].to_pylist() if config.language is not None else [None] * len(documents)
    values = (documents[name].to_pylist() for name in ("id", "source", "url", "text"))
    for identity, source, url, text, language in zip(*values, languages, strict=True):
        label = POSITIVE if source in config.positive else NEGATIVE
        rank = hash_of(config.seed, "document", identity)
        if label == NEGATIVE and rank >= config.negative_rate * 2.0**63:
            counts[label]["not_sampled"] += 1
        elif language != config.language:
            counts[label]["other_language"] += 1
        elif len(words := words_of(one_line(text[:_LONGEST]))[: config.most_words]) < config.fewest_words:
            counts[label]["short"] += 1
        else:
            counts[label]["candidates"] += 1
            site = domain_of(url) if config.by_site else None
            rows.append((0, label, rank, site or f"id:{identity}", len(words), " ".join(words)))
    rows.append((0, None, None, None, None, json.dumps(counts, sort_keys=True)))
    return pa.table(list(zip(*rows, strict=True)), schema=ROWS)


def hash_of(seed: int, *what: str) -> int:
    """A number below 2**63 that depends on all arguments."""
    digest = hashlib.blake2b("\0".join([str(seed), *what]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
