"""Captures of sites' files made in tests, and the steps that read them, without an engine."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.documents import documents_table
from infra.outcomes import Document, Kept, Outcome, read_all
from infra.stage import Stage, StageConfig
from tasks.site_captures import SiteCapturesConfig, fit_site_captures
from tasks.sources.site_files import SiteFilesConfig, read_site_files
from tests.tasks.sources.samples import http_response, warc_record


def captured(
    uri: str, body: bytes = b"", status: int = 200, date: str = "2024-01-01T00:00:00Z", **fields: str
) -> bytes:
    """The record of a response for a site's file."""
    response = http_response(body, status, Content_Type="text/plain", **fields)
    return warc_record(response, number=zlib.crc32(f"{uri} {date}".encode()), uri=uri, WARC_Date=date)


def outcomes(records: Sequence[bytes]) -> list[Outcome]:
    return list(read_all(read_site_files(io.BytesIO(b"".join(records)), "made.warc", SiteFilesConfig())))


def fitted(records: Sequence[bytes], folder: Path) -> dict[str, Path]:
    """The model that the captures of an archive give."""
    folder.mkdir(exist_ok=True)
    documents = [found.document for found in outcomes(records) if isinstance(found, Kept)]
    columns = ["url", "date", "text", "metadata"]
    return fit_site_captures(iter([documents_table(documents).select(columns)]), SiteCapturesConfig(), folder)


def judged(
    stage: Stage,
    config: StageConfig,
    files: dict[str, Path],
    pages: Sequence[tuple[str | None, str | None]],
    metadata: dict[str, str | int | float | None] | None = None,
) -> list[dict[str, Any]]:
    """The rows of a step for pages of these URLs and dates."""
    assert stage.load is not None
    documents = documents_table(
        [
            Document(str(number), "text", url, date, "web", None, metadata or {})
            for number, (url, date) in enumerate(pages)
        ]
    )
    found: pa.Table = stage(documents, config, stage.load(config, files))
    return found.cast(stage.schema).to_pylist()
