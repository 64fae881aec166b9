"""What a task reads of a source, with artifacts by name: a view before its artifacts are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.engine.graph import Made
from infra.engine.units import Floor
from infra.engine.views import Annotation, View
from tasks.corpus.groups import GROUPS
from tasks.corpus.ids import IDS


@dataclass(frozen=True)
class ViewSpec:
    """The view of one source, with artifacts by name. `edits` and `annotations` map names to artifacts."""

    source: str
    documents: str
    edits: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    floors: tuple[Floor, ...] = ()
    before: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The artifacts that the view needs.

        In an artifact of all sources, the source's shards follow those of the documents in `before`.
        """
        named = [artifact for _, artifact in (*self.edits, *self.annotations)]
        return tuple(dict.fromkeys([self.documents, *named, *self.before]))

    def view(self, made: Made) -> View:
        """The view, once its artifacts exist."""
        first = sum(len(made[name].parts) for name in self.before)

        def annotation(artifact: str) -> Annotation:
            return Annotation(made[artifact], first if is_of_all(artifact) else 0)

        return View(
            self.source,
            made[self.documents],
            tuple((name, annotation(artifact)) for name, artifact in self.edits),
            tuple((name, annotation(artifact)) for name, artifact in self.annotations),
            self.floors,
        )


def needs_of(specs: Iterable[ViewSpec]) -> tuple[str, ...]:
    """The artifacts that several views need, each once."""
    return tuple(dict.fromkeys(name for spec in specs for name in spec.needs))


def is_of_all(artifact: str) -> bool:
    """Whether an artifact has parts for the documents of all sources."""
    return artifact in (IDS, GROUPS, "outcomes") or artifact.startswith("across/")
