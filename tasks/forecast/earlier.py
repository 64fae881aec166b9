"""The documents of earlier builds with which a sample is compared: all of them, or those of some shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part, artifact_digest, fetch_part
from tasks.corpus.known import EARLIER, known_documents

# Of all earlier builds together. The sample and both halves are compared with them, a minute's work each.
MOST_DOCUMENTS = 100_000


@dataclass(frozen=True, slots=True)
class EarlierSample:
    """By the name of a build: the documents that the sample is compared with; and how many there are in all.

    `taken` and `all` hold (documents, shards).
    """

    manifests: Mapping[str, Manifest]
    all: Mapping[str, tuple[int, int]]

    @property
    def taken(self) -> dict[str, tuple[int, int]]:
        """As many are compared with the sample."""
        return {name: (manifest.rows, len(manifest.parts)) for name, manifest in self.manifests.items()}

    @property
    def share(self) -> float:
        """The share of the documents of earlier builds that the sample is compared with; 1 where there are none."""
        documents = sum(count for count, _ in self.all.values())
        return sum(count for count, _ in self.taken.values()) / documents if documents else 1.0

    def growth(self, artifact: str) -> float:
        """Documents of an earlier build for one that was taken, from the name of an artifact about them."""
        [name] = [name for name in self.all if artifact.startswith(f"{EARLIER}/{name}/")]
        return self.all[name][0] / max(self.taken[name][0], 1)

    def documents(self, lake: Lake, name: str) -> Manifest:
        """As `tasks.corpus.known.known_documents`, of those that were taken."""
        return self.manifests[name]

    def copy(self, lake: Lake, cache: Path) -> list[tuple[Part, Path]]:
        """The parts that were taken as local files: those of a local lake, or copies in `cache`."""
        parts = {part.path: part for manifest in self.manifests.values() for part in manifest.parts}
        return [(part, fetch_part(lake, part, cache)) for part in parts.values()]


def sample_earlier(lake: Lake, names: Iterable[str]) -> EarlierSample:
    """The documents of builds: all, or shards with the lowest digests, which are as good as drawn by lot.

    Raises StoreError where there is no such build.
    """
    found = {name: known_documents(lake, name) for name in dict.fromkeys(names)}
    rows = sum(manifest.rows for manifest in found.values())
    counts = {name: (manifest.rows, len(manifest.parts)) for name, manifest in found.items()}
    if rows > MOST_DOCUMENTS:
        found = {name: _some(manifest, MOST_DOCUMENTS * manifest.rows / rows) for name, manifest in found.items()}
    return EarlierSample(found, counts)


def _some(manifest: Manifest, documents: float) -> Manifest:
    chosen: set[str] = set()
    rows = 0
    for part in sorted(manifest.parts, key=lambda part: part.content):
        if rows >= documents:
            break
        rows += part.rows
        chosen.add(part.content)
    parts = tuple(part for part in manifest.parts if part.content in chosen)
    return replace(manifest, parts=parts, digest=artifact_digest(parts))
