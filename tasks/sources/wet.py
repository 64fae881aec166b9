"""The source of texts that a crawler has already extracted: WET archives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, Literal

import pydantic

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, Record
from infra.stage import StageKind, stage
from tasks.sources.archives import ArchiveFault, ArchiveRecord, read_records
from tasks.sources.cc_net import MIN_CHARACTERS, read_body
from tasks.sources.extraction import storable
from tasks.sources.reasons import Broken, Unwanted
from tasks.sources.repair import RepairConfig, repairing
from tasks.sources.web_archive import document_id, example_of, fault_outcome, iso_date, unwanted_type

_MOST_REPLACED = 0.1


class WetConfig(RepairConfig):
    """`source` names the crawl and is the prefix of every id.

    With `compat: ccnet`, title and text are those of `tasks.sources.cc_net`. A text of less than `min_characters`
    without its title is dropped; the default is 1, or cc_net's 300.
    """

    source: str = pydantic.Field(default="web", min_length=1, pattern=r"^[^\s/]+$")
    compat: Literal["ccnet"] | None = None
    min_characters: int | None = pydantic.Field(default=None, ge=1)
    # The whole record is one document: see `tasks.sources.jsonl`.
    max_record_bytes: int = pydantic.Field(default=16 << 20, ge=1 << 10)

    @property
    def least(self) -> int:
        """The characters of the shortest text that is kept."""
        return self.min_characters or (MIN_CHARACTERS if self.compat else 1)


@stage("wet", version=4, kind=StageKind.source, config=WetConfig, libraries=["FastWARC", "warcio"])
@repairing
def read_wet(stream: BinaryIO, name: str, config: WetConfig) -> Iterator[Record | Outcome]:
    """Yield every record, to be read for its outcome.

    A conversion record is a document. Its text is the text as stored, with the page's title first and without control
    characters, unless `compat` is set. Bytes count record blocks and skipped stretches.
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
    decoded = (record.block + (record.line_ends if config.compat else b"")).decode("utf-8", "replace")
    replaced = decoded.count("\ufffd")
    if replaced > _MOST_REPLACED * len(decoded):
        detail = f"{replaced} of {len(decoded)} characters are not UTF-8"
        return Failed(Broken.undecodable, size, example_of(record, name, detail), record.offset)
    told: dict[str, str | int | float | None] = {}
    if config.compat:
        body = read_body(decoded)
        text = body.text
        told = {"title": body.title, **({"lines_cut": body.lines_cut} if body.lines_cut else {})}
    else:
        text = storable(decoded)
    if len(text) < config.least:
        return Dropped(Unwanted.short_text if text else Unwanted.empty_text, size, example_of(record, name))
    metadata: dict[str, str | int | float | None] = {
        "offset": record.offset,
        "inner_offset": record.inner,
        "languages": record.headers.get("warc-identified-content-language"),
        "refers_to": record.headers.get("warc-refers-to"),
        "block_digest": record.headers.get("warc-block-digest"),
        **told,
    }
    document = Document(
        document_id(record, config.source), text, record.uri, iso_date(record.date), config.source, None, metadata
    )
    return Kept(document, size)
