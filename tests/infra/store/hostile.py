"""What an attacker prepares for tests: a folder of victims, and a small lake whose objects can be changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.store.digests import sha256_bytes
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import (
    Manifest,
    Marker,
    Part,
    artifact_digest,
    store_part,
    write_manifest,
    write_marker,
)

KEY = "a" * 64


def store(lake: Lake, folder: Path, content: bytes, name: str = "a#0", suffix: str = ".bin") -> Part:
    """A part with that content."""
    folder.mkdir(exist_ok=True)
    local = folder / "local"
    local.write_bytes(content)
    return store_part(lake, local, name=name, rows=-1, content=sha256_bytes(content), suffix=suffix)


def manifest_of(*parts: Part, key: str = KEY, stage: str = "toy", **details: Any) -> Manifest:
    """The manifest of an artifact of these parts."""
    return Manifest(
        key=key,
        digest=artifact_digest(parts),
        stage=stage,
        version=1,
        config={},
        inputs={},
        libraries={},
        models={},
        parts=parts,
        account=Account(rows_in=1, kept=1),
        details=details,
        cost={"worker_seconds": 0.5},
        created="2026-01-01T00:00:00+00:00",
    )


def artifact(lake: Lake, *parts: Part, key: str = KEY, stage: str = "toy", **details: Any) -> Manifest:
    """An artifact of these parts, with a marker of the same key."""
    manifest = manifest_of(*parts, key=key, stage=stage, **details)
    write_marker(lake, stage, Marker(key, parts, Account(rows_in=1, kept=1), 0.5))
    write_manifest(lake, manifest)
    return manifest


def change(lake: Lake, path: str, how: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON object of the lake as an attacker would."""
    value = lake.read_json(path)
    how(value)
    lake.write_json(path, value)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evil_part(**changes: Any) -> dict[str, Any]:
    """The plain values of a part, changed."""
    return {**asdict(Part("b" * 64, 1, -1, "b" * 64, "evil", ".bin")), **changes}
