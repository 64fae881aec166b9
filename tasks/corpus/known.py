"""Corpora of earlier builds, with which a new one is compared: their documents stay, and are not written again."""

from __future__ import annotations

from dataclasses import replace

from infra.store.lake import Lake
from infra.store.manifest import Manifest, artifact_digest
from tasks.builds import find_build


def known_documents(lake: Lake, name: str) -> Manifest:
    """The documents of all corpora of the build `name`, as of one source.

    Raises StoreError if there is no such build, and NotThere or Corrupt if one of its corpora cannot be read.
    """
    corpora = list(find_build(lake, name).corpora(lake).values())
    parts = tuple(part for corpus in corpora for part in corpus.parts)
    return replace(corpora[0], parts=parts, digest=artifact_digest(parts))
