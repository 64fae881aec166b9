"""Texts beside the project that judges of signals have read, by the SHA-256 of their UTF-8."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.outcomes import Kept, read_all
from tasks.sources.wet import WetConfig, read_wet


def gold_texts(data: Path) -> list[str]:
    """The gold texts of the crawl: bodies of pages, cleaned by hand or as parsers of single sites expect them."""
    texts = []
    for path in sorted((data / "crawl" / "gold").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                gold = row.get("gt") or {}
                if gold.get("type") in ("body", "body_by_tool"):
                    texts.append(gold["text"])
                elif gold.get("type") == "fundus_versions":
                    texts += ["\n\n".join(_strings(version.get("body"))) for version in gold["versions"].values()]
                elif gold.get("type") == "expected_html":
                    texts.append(gold["html"])
    return [text for text in texts if text]


def wet_texts(data: Path) -> list[str]:
    """The texts of the 1,786 records of the WET files that were made of the crawl."""
    texts = []
    for path in sorted((data / "ccnet" / "wet").glob("*.gz")):
        with path.open("rb") as stream:
            outcomes = read_all(read_wet(stream, path.name, WetConfig()))
            texts += [outcome.document.text for outcome in outcomes if isinstance(outcome, Kept)]
    return texts


def digest(text: str) -> str:
    """The name of a text in the judges' records."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
