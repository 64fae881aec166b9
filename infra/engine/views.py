"""The input of a stage: the documents of a source, with the edits and annotations that the stage reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from infra.engine.units import Floor, Shard
from infra.store.manifest import Manifest, Part

FlooredShard = tuple[Shard, tuple[Floor, ...]]  # with the floors that its documents must satisfy


@dataclass(frozen=True)
class Annotation:
    """The annotation of one source's documents by a step.

    The artifact of a step across several sources has parts for all of them; `first` is the index of the part for the
    first shard of this source.
    """

    manifest: Manifest
    first: int = 0

    def part(self, shard: int) -> Part:
        """The part for a shard of the source."""
        return self.manifest.parts[self.first + shard]


@dataclass(frozen=True)
class View:
    """The documents of one source as a step sees them.

    `edits` are applied to the text in order. `annotations` have the names by which the kernel refers to them.
    Documents that do not satisfy every floor of `floors` are skipped.
    """

    source: str
    documents: Manifest
    edits: tuple[tuple[str, Annotation], ...] = ()
    annotations: tuple[tuple[str, Annotation], ...] = ()
    floors: tuple[Floor, ...] = ()

    def shards(self) -> list[Shard]:
        """The shards of the source, each with its edits and annotations."""
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

    def files(self) -> list[list[Shard]]:
        """The shards of each input file, in order. A file without documents has none."""
        shards = iter(self.shards())
        return [list(islice(shards, count)) for count in self.documents.parts_of_files]

    def digests(self) -> dict[str, str]:
        """The view's artifacts, as name → digest, for the `inputs` of a manifest."""
        named = {name: annotation.manifest.digest for name, annotation in (*self.edits, *self.annotations)}
        return {
            f"{self.source}/{name}": digest for name, digest in {"documents": self.documents.digest, **named}.items()
        }


def floored_shards(views: Sequence[View]) -> list[FlooredShard]:
    """The shards of several sources in order, each with its floors."""
    return [(shard, view.floors) for view in views for shard in view.shards()]


def digests_of(views: Sequence[View]) -> dict[str, str]:
    """The artifacts of several views: name → digest."""
    return {name: digest for view in views for name, digest in view.digests().items()}
