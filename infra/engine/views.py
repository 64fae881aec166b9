"""What a stage reads: the documents of a source, the edits that it sees, and the annotations that it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.engine.units import Floor, Shard
from infra.store.manifest import Manifest, Part


@dataclass(frozen=True)
class Annotation:
    """What a step wrote about the documents of one source.

    The artifact of a step across several sources has parts about all of them; `first` is the number of the part about
    the first shard of this source.
    """

    manifest: Manifest
    first: int = 0

    def part(self, shard: int) -> Part:
        """The part about a shard of the source."""
        return self.manifest.parts[self.first + shard]


@dataclass(frozen=True)
class View:
    """The documents of one source as a step sees them.

    `edits` are applied to the text in order. `annotations` go by the names that the kernel knows them by. Documents
    that are outside one of the `floors` are not read.
    """

    source: str
    documents: Manifest
    edits: tuple[tuple[str, Annotation], ...] = ()
    annotations: tuple[tuple[str, Annotation], ...] = ()
    floors: tuple[Floor, ...] = ()

    def shards(self) -> list[Shard]:
        """The shards of the source, with the parts about each."""
        return [
            Shard(
                part,
                tuple(annotation.part(number) for _, annotation in self.edits),
                tuple(
                    (name, annotation.part(number))
                    for name, annotation in sorted(self.annotations, key=lambda item: item[0])
                ),
            )
            for number, part in enumerate(self.documents.parts)
        ]

    def digests(self) -> dict[str, str]:
        """What it is made of, for the manifest of what is made from it: name → digest."""
        named = {name: annotation.manifest.digest for name, annotation in (*self.edits, *self.annotations)}
        return {
            f"{self.source}/{name}": digest for name, digest in {"documents": self.documents.digest, **named}.items()
        }


def shards_of(views: Sequence[View]) -> list[Shard]:
    """The shards of several sources in order."""
    return [shard for view in views for shard in view.shards()]


def digests_of(views: Sequence[View]) -> dict[str, str]:
    """What several views are made of."""
    return {name: digest for view in views for name, digest in view.digests().items()}
