"""Fits the captures of robots.txt and tdmrep.json that a reference read: an index by site, and their texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from infra.stage import StageConfig, StageKind, stage
from tasks.corpus.index import hash_name
from tasks.site_captures.lookup import BODIES, INDEX, INDEX_SCHEMA, UNDATED, capture_name
from tasks.text.dates import instant
from tasks.text.urls import parse_url


class SiteCapturesConfig(StageConfig):
    """Nothing can be set."""


@stage(
    "site_captures",
    version=1,
    kind=StageKind.fit,
    config=SiteCapturesConfig,
    columns=["url", "date", "text", "metadata"],
    libraries=["publicsuffixlist"],
)
def fit_site_captures(documents: Iterator[pa.Table], config: SiteCapturesConfig, folder: Path) -> dict[str, Path]:
    """The index of the documents of `tasks.sources.site_files`, sorted, and each different text once.

    The index has some 200 bytes for a capture, in memory. Documents of other sources are not captures: ValueError.
    """
    places: dict[bytes, tuple[int, int]] = {}
    tables = [INDEX_SCHEMA.empty_table()]
    end = 0
    with (folder / BODIES).open("wb") as bodies:
        for table in documents:
            rows = []
            columns = (table[name].to_pylist() for name in ("url", "date", "text", "metadata"))
            for url, date, text, metadata in zip(*columns, strict=True):
                parts, told = parse_url(url), json.loads(metadata or "{}")
                if parts is None or not isinstance(told.get("status"), int):
                    raise ValueError(f"{url} is no capture of a site's file: read the reference with site_files")
                body = text.encode()
                digest = hashlib.sha256(body).digest()
                if digest not in places:
                    places[digest] = (end, end + bodies.write(body))
                    end += len(body)
                name = capture_name(parts.target, parts.site)
                when = None if date is None else instant(date)
                start, stop = places[digest]
                rows.append(
                    {
                        "key": hash_name(name),
                        "name": name,
                        "instant": UNDATED if when is None else when,
                        "date": date,
                        "status": told["status"],
                        "location": told.get("location"),
                        "start": start,
                        "end": stop,
                        "cut": int(bool(told.get("cut"))),
                    }
                )
            tables.append(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    index = pa.concat_tables(tables).combine_chunks()
    order = np.lexsort((np.arange(index.num_rows), index["instant"].to_numpy(), index["key"].to_numpy()))
    with pa.OSFile(str(folder / INDEX), "wb") as sink, pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        writer.write_table(index.take(pa.array(order)).combine_chunks())
    return {INDEX: folder / INDEX, BODIES: folder / BODIES}
