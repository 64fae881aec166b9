"""Pages of one URL: documents whose normalised URLs are equal, of which the corpus keeps one.

As C4 did (Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2020;
``normalize_url`` of ``c4_utils.py`` in tensorflow/datasets), with ``survivors: [latest]``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from infra.documents import Documents
from infra.stage import StageConfig, partitioned
from tasks.exact_duplicates import EXACT_SCHEMA, annotate_equal, find_equal, hashes_of
from tasks.text.c4_urls import normalised_url


class UrlDuplicatesConfig(StageConfig):
    """Nothing can be set."""

    reason: ClassVar[str] = "same_url"


def read_normalised(documents: Documents, config: UrlDuplicatesConfig) -> pa.Table:
    """A hash of each normalised URL, with the columns of `tasks.exact_duplicates.hashes_of`. A null URL has none."""
    urls = [None if url is None else normalised_url(url) for url in documents["url"].to_pylist()]
    return hashes_of(urls)


def _describe(columns: dict[str, Any]) -> list[str]:
    return ["its URL is its own" if columns["cluster"] is None else f"one of those with the URL {columns['cluster']}"]


url_duplicates = partitioned(
    "url_duplicates",
    version=1,
    config=UrlDuplicatesConfig,
    reference="tasks.url_duplicates:url_duplicates",
    schema=EXACT_SCHEMA,
    columns={"map": ["url"], "annotate": ["id"]},
    map=read_normalised,
    reduce=find_equal,
    annotate=annotate_equal,
    describe=_describe,
)
