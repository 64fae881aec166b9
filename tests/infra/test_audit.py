"""Forgetting what is broken: all that points at it goes, so that the next build makes it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from infra.audit import forget_artifact, verify_artifact
from infra.store.digests import sha256_bytes
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import (
    Manifest,
    Marker,
    artifact_digest,
    read_manifest,
    read_marker,
    store_part,
    write_manifest,
    write_marker,
)

KEYS = {"whole": "0" * 64, "broken": "1" * 64}


def test_forgetting_by_one_artifact_forgets_all_that_list_the_broken_part(lake: Lake, tmp_path: Path) -> None:
    parts = []
    for name in ("whole", "broken"):
        (tmp_path / name).write_text(name)
        parts.append(
            store_part(lake, tmp_path / name, name=name, rows=-1, content=sha256_bytes(name.encode()), suffix=".bin")
        )
        write_marker(lake, "crawl", Marker(KEYS[name], (parts[-1],), Account(), 0.0))
    account = Account(rows_in=1, kept=1)
    source = Manifest(
        "a" * 64, artifact_digest(parts), "crawl", 1, {}, {}, {}, {}, tuple(parts), account, {}, {}, "2026"
    )
    joined = replace(source, key="b" * 64, stage="documents")
    other = replace(source, key="c" * 64, parts=(parts[0],), digest=artifact_digest(parts[:1]))
    for manifest in (source, joined, other):
        write_manifest(lake, manifest)
    lake.write(parts[1].path, b"brOken")
    faults = verify_artifact(lake, joined, tmp_path / "cache", lambda *_: None)
    assert [(fault.part, fault.problem) for fault in faults] == [("broken", "its bytes changed after it was written")]
    forget_artifact(lake, joined, faults)
    assert read_manifest(lake, "documents", joined.key) is None
    assert read_manifest(lake, "crawl", source.key) is None, "or the next build would go on with the missing part"
    assert read_manifest(lake, "crawl", other.key) == other
    assert lake.size(parts[1].path) is None
    assert lake.size(parts[0].path) == 5
    assert read_marker(lake, "crawl", KEYS["broken"]) is None
    assert read_marker(lake, "crawl", KEYS["whole"]) is not None
