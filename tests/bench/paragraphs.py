"""Duplicate paragraphs: the step `paragraphs` on one group of documents, against cc_net's own modules."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow as pa

from infra.documents import apply_edits
from tasks.paragraphs import ParagraphConfig, annotate_paragraphs, map_paragraphs, reduce_paragraphs
from tests.bench.inputs import page_texts
from tests.bench.peers.process import Contest, contest, equal
from tests.bench.peers.tools import cc_net
from tests.bench.report import print_head

CONFIG = ParagraphConfig()


def run() -> None:
    """Compare, time and print."""
    texts = page_texts()
    print_head("paragraphs", "lines that other documents have are struck, one thread", texts, ["numpy", "pyarrow"])
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        given = Path(folder) / "texts.json"
        given.write_text(json.dumps({"texts": texts.value}))
        one = Contest(
            "paragraph duplicates",
            cc_net(),
            "cc_net",
            "cc_net_paragraphs",
            5.0,
            lambda: edited(texts.value),
            lambda: kept(texts.value),
            equal,
            (("numpy",), ["numpy", "pyarrow"]),
        )
        contest(one, texts, given)


def edited(texts: list[str]) -> tuple[pa.Array, pa.Table]:
    """The texts without struck lines, and the annotations that say so."""
    documents = pa.table({"text": pa.array(texts, pa.string())})
    duplicates = reduce_paragraphs([(0, map_paragraphs(documents, CONFIG))], CONFIG)
    annotations = annotate_paragraphs(documents, duplicates, CONFIG)
    return apply_edits(documents["text"], annotations["edits"])[0], annotations


def kept(texts: list[str]) -> list[str | None]:
    """The same as cc_net gives it: None for a document without a line left."""
    found, annotations = edited(texts)
    gone = [lines == struck for lines, struck in zip(*(annotations[name].to_pylist() for name in ("lines", "struck")))]
    return [None if empty else text for text, empty in zip(found.to_pylist(), gone, strict=True)]
