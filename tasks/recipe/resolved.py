"""A recipe with everything that it leaves open settled: what each step reads, sees, and is kept from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.engine import units
from infra.stage import Stage, StageConfig
from tasks.corpus.duplicates import Survivors
from tasks.corpus.rules import Threshold
from tasks.recipe.schema import DEFAULT_SURVIVORS, Recipe, Reference

FLOOR = "floor "  # before the name of a step, in the view of the steps behind a floor


@dataclass(frozen=True)
class ResolvedStep:
    """A step of a source, or across sources.

    `sees` are the edits in the text that it reads; `reads` maps the names that the kernel knows to steps, for each
    source; `model` is the name of the model it uses.
    """

    name: str
    stage: Stage
    config: StageConfig
    sees: tuple[str, ...]
    reads: Mapping[str, tuple[tuple[str, str], ...]]
    floors: tuple[Threshold, ...] = ()
    model: str | None = None
    survivors: tuple[Survivors, ...] = DEFAULT_SURVIVORS
    against: tuple[str, ...] = ()

    @property
    def edits_text(self) -> bool:
        """Whether it changes the text that later steps see."""
        return self.stage.gives_edits and self.config.edits_text

    @property
    def read_steps(self) -> set[str]:
        """The steps whose columns it reads."""
        return {step for pairs in self.reads.values() for _, step in pairs} | {floor.step for floor in self.floors}

    def engine_floors(self) -> tuple[units.Floor, ...]:
        """The floors as the engine knows them."""
        return tuple(
            units.Floor(f"{FLOOR}{floor.column}", floor.at_least, floor.at_most, floor.one_of) for floor in self.floors
        )


@dataclass(frozen=True)
class ResolvedSource:
    """A source or a reference, with its steps in order."""

    name: str
    section: Reference
    steps: tuple[ResolvedStep, ...]

    def step(self, name: str) -> ResolvedStep | None:
        """The step of that name."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def edits(self) -> tuple[str, ...]:
        """The steps that change the text, in order."""
        return tuple(step.name for step in self.steps if step.edits_text)

    def skipped_by(self, floor: Threshold) -> tuple[str, ...]:
        """The steps that do not read documents outside a floor."""
        return tuple(step.name for step in self.steps if floor in step.floors)


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe with its steps resolved."""

    recipe: Recipe
    sources: tuple[ResolvedSource, ...]
    references: tuple[ResolvedSource, ...]
    across: tuple[ResolvedStep, ...] = field(default=())

    def origin(self, name: str) -> ResolvedSource:
        """The source or reference of that name."""
        return next(source for source in (*self.sources, *self.references) if source.name == name)

    def edits(self, source: ResolvedSource) -> tuple[str, ...]:
        """The steps that change the text of a source, in order, those across sources last."""
        return (*source.edits, *(step.name for step in self.across if step.edits_text))

    def step(self, source: ResolvedSource, name: str) -> ResolvedStep | None:
        """The step of that name which documents of a source go through."""
        return source.step(name) or next((step for step in self.across if step.name == name), None)


class Unresolved(ValueError):
    """A recipe that does not hold together."""


def listed(names: tuple[str, ...]) -> str:
    """Names for a message."""
    return ", ".join(names) or "none"
