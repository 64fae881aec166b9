"""The documents of several sources as one artifact, so that what follows sees all of them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.ledger import total
from infra.store.manifest import Manifest, artifact_digest, read_manifest, write_manifest


def join_sources(lake: Lake, sources: Sequence[Manifest]) -> Manifest:
    """An artifact that lists the shards of all sources in order; no document is copied."""
    key = key_of({"stage": "documents", "sources": [[source.key, source.digest] for source in sources]})
    found = read_manifest(lake, "documents", key, keep=True)
    if found is not None:
        return found
    parts = [part for source in sources for part in source.parts]
    manifest = Manifest(
        key=key,
        digest=artifact_digest(parts),
        stage="documents",
        version=1,
        config={},
        inputs={f"{source.stage}/{number}": source.digest for number, source in enumerate(sources)},
        libraries={},
        models={},
        parts=tuple(parts),
        account=total(source.account for source in sources),
        details={},
        cost={},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    manifest.account.check("documents")
    write_manifest(lake, manifest)
    return manifest
