"""The source of texts that a crawler has already extracted: WET archives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import pydantic

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, Record
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.archives import ArchiveFault, ArchiveRecord, read_records
from tasks.sources.extraction import storable
from tasks.sources.reasons import Broken, Unwanted
from tasks.sources.web_archive import document_id, example_of, fault_outcome, iso_date, unwanted_type

_MOST_REPLACED = 0.1


class WetConfig(StageConfig):
    """`source` names the crawl and is the prefix of every id."""

    source: str = pydantic.Field(default="web", min_length=1, pattern=r"^[^\s/]+$")
    min_characters: int = pydantic.Field(default=1, ge=1)
    # The whole record is one document: see `tasks.sources.jsonl`.
    max_record_bytes: int = pydantic.Field(default=16 << 20, ge=1 << 10)


@stage("wet", version=3, kind=StageKind.source, config=WetConfig, libraries=["FastWARC", "warcio"])
def read_wet(stream: BinaryIO, name: str, config: WetConfig) -> Iterator[Record | Outcome]:
    """Yield every record, to be read for its outcome.

    A conversion record is a document: its text as stored, with the page's title first.

    Bytes count record blocks and skipped stretches.
    """
    for record in read_records(stream, name, config.max_record_bytes):
        if isinstance(record, ArchiveFault):
            yield fault_outcome(record)
        else:
            yield Record(record.block, record.offset, partial(_text, record, name, config))


def _text(record: ArchiveRecord, name: str, config: WetConfig) -> Outcome:
    size = len(record.block)
    if record.type != "conversion":
        return Dropped(unwanted_type(record), size, example_of(record, name))
    decoded = record.block.decode("utf-8", "replace")
    replaced = decoded.count("\ufffd")
    if replaced > _MOST_REPLACED * len(decoded):
        detail = f"{replaced} of {len(decoded)} characters are not UTF-8"
        return Failed(Broken.undecodable, size, example_of(record, name, detail), record.offset)
    text = storable(decoded)
    if len(text) < config.min_characters:
        return Dropped(Unwanted.short_text if text else Unwanted.empty_text, size, example_of(record, name))
    metadata: dict[str, str | int | float | None] = {
        "offset": record.offset,
        "inner_offset": record.inner,
        "languages": record.headers.get("warc-identified-content-language"),
        "refers_to": record.headers.get("warc-refers-to"),
        "block_digest": record.headers.get("warc-block-digest"),
    }
    document = Document(
        document_id(record, config.source), text, record.uri, iso_date(record.date), config.source, None, metadata
    )
    return Kept(document, size)
