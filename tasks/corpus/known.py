"""Corpora of earlier builds, with which a new one is compared: their documents stay, and are not written again.

Artifacts about them are named ``earlier/BUILD/STAGE``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from infra.engine.graph import BuildTask, Made
from infra.engine.plans import ConfiguredStage, PassPlan, Plan
from infra.engine.views import Annotation, View
from infra.stage import Stage, StageConfig, StageKind
from infra.store.lake import Lake
from infra.store.manifest import Manifest, artifact_digest
from tasks.builds import find_build
from tasks.recipe.resolved import ResolvedStep
from tasks.stages import find_stage, module_of

EARLIER = "earlier"
KnownDocuments = Callable[[Lake, str], Manifest]


class EarlierBuilds:
    """What the tasks of one build need of earlier ones; `across` are its steps across sources.

    `documents` finds those of a build by its name.
    """

    def __init__(self, across: Sequence[ResolvedStep], documents: KnownDocuments) -> None:
        self._across = across
        # Once per build: a name may be given to another build meanwhile.
        self._documents = functools.cache(documents)

    def tasks(self, step: ResolvedStep) -> Iterator[BuildTask]:
        """What a step reads of the documents of earlier builds. Later builds find it in the lake."""
        for name, role in _roles(step):
            maker = find_stage(role, StageKind.annotate)
            config = step.stage.implied[role](step.config)

            def plan(
                lake: Lake, made: Made, name: str = name, maker: Stage = maker, config: StageConfig = config
            ) -> Plan:
                return PassPlan((ConfiguredStage(maker, config),), self._view(lake, name))

            yield BuildTask(f"{name}: {role}", (_artifact(name, role),), (), plan, (module_of(maker),))

    def needs(self, step: ResolvedStep) -> list[str]:
        """The artifacts that `tasks` makes for a step."""
        return [_artifact(name, role) for name, role in _roles(step)]

    def compared(self, lake: Lake, made: Made, step: ResolvedStep) -> Iterator[View]:
        """The documents that a step compares with. They come behind the sources, which so keep their places."""
        for name in step.against:
            about = ((role, Annotation(made[_artifact(of, role)])) for of, role in _roles(step) if of == name)
            yield self._view(lake, name, *about)

    def behind(self, lake: Lake, made: Made, views: Sequence[View], beside: Sequence[str]) -> Iterator[View]:
        """The documents of all steps behind those of `views`, with the steps that saw them and the artifacts `beside`.

        These artifacts are of the same documents in the same order.
        """
        shards = place = sum(len(view.documents.parts) for view in views)
        for step in self._across:
            first = shards
            for name in step.against:
                annotations = [(step.name, Annotation(made[f"across/{step.name}"], first))]
                annotations += [(other, Annotation(made[other], place)) for other in beside]
                view = self._view(lake, name, *annotations)
                yield view
                first += len(view.documents.parts)
                place += len(view.documents.parts)

    def _view(self, lake: Lake, name: str, *annotations: tuple[str, Annotation]) -> View:
        return View(f"{EARLIER}/{name}", self._documents(lake, name), annotations=annotations)


def known_documents(lake: Lake, name: str) -> Manifest:
    """The documents of all corpora of the build `name`, as of one source.

    Raises StoreError if there is no such build, and NotThere or Corrupt if one of its corpora cannot be read.
    """
    corpora = list(find_build(lake, name).corpora(lake).values())
    parts = tuple(part for corpus in corpora for part in corpus.parts)
    return replace(corpora[0], parts=parts, digest=artifact_digest(parts))


def _roles(step: ResolvedStep) -> list[tuple[str, str]]:
    """The earlier builds of a step, each with every stage that the step reads of their documents."""
    return [(name, role) for name in step.against for role in step.stage.reads(step.config)]


def _artifact(name: str, role: str) -> str:
    return f"{EARLIER}/{name}/{role}"
