"""A source of a recipe, and the parts that it may be cut into."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

import pydantic

from infra.stage import StageConfig
from tasks.corpus.bins import Bin, Bins
from tasks.corpus.rules import Rule, Threshold
from tasks.recipe.parts import Reader, Section, Step
from tasks.token_artifact import SPLITS

SOURCE_NAME = r"^[a-z0-9][a-z0-9_-]*$"
NAME_RULE = "use a-z, 0-9, _ and -, and start with a-z or 0-9"


class Reference(Section):
    """Text that models are fitted on and that is no part of the corpus."""

    read: Reader = pydantic.Field(description="Reader and its config.")
    inputs: tuple[str, ...] = pydantic.Field((), description="Paths, folders, globs or s3:// URIs of the input files.")
    steps: tuple[Step, ...] = pydantic.Field((), description="Steps that process its documents, in order.")
    floors: tuple[Threshold, ...] = pydantic.Field(
        (), description="Later steps do not read documents outside these thresholds."
    )

    def reader_config(self, name: str) -> StageConfig:
        """The config of its reader, under that name."""
        return self.read.config_for(name)


Share = Annotated[float | None, pydantic.Field(gt=0, le=1e6, description="Its share of the training tokens.")]
Epochs = Annotated[
    float | None,
    pydantic.Field(gt=0, le=1e6, description="How often its tokens are trained on, relative to 1 for other sources."),
]


class PartOfSource(Section):
    """The documents of a source with one value of the reader's `part_field`, or within thresholds of `parts_by`."""

    value: str | None = pydantic.Field(None, description="The value. Written alone, it is the part.")
    at_least: float | None = pydantic.Field(None, description="Smallest value of the part.")
    at_most: float | None = pydantic.Field(None, description="Largest value of the part.")
    share: Share = None
    epochs: Epochs = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, str) else value

    @property
    def is_rest(self) -> bool:
        """Whether it has what is in no other part."""
        return (self.value, self.at_least, self.at_most) == (None, None, None)


class Source(Reference):
    """A source of the corpus."""

    rules: tuple[Rule, ...] = pydantic.Field((), description="In order; the first rule that a document fails drops it.")
    parts: dict[str, PartOfSource] = pydantic.Field(
        default_factory=dict,
        exclude_if=lambda parts: not parts,
        description="Parts with token files and a place in the mixture of their own, by name.",
    )
    parts_by: str | None = pydantic.Field(
        None,
        pattern=r"^[a-z0-9_]+\.[a-z0-9_]+$",
        exclude_if=lambda column: column is None,
        description="Column that cuts the source into parts, as STEP.COLUMN.",
    )
    share: Share = None
    epochs: Epochs = None
    split: Literal["validation", "held-out"] | None = pydantic.Field(
        None,
        exclude_if=lambda split: split is None,
        description="All of its documents are in this split: it is not trained on.",
    )

    @pydantic.model_validator(mode="after")
    def _split_fits(self) -> Self:
        mixed: list[Source | PartOfSource] = [self, *self.parts.values()]
        if self.split is not None and any(one.share is not None or one.epochs is not None for one in mixed):
            raise ValueError(f"split: what is {self.split} is not trained on: omit share and epochs")
        return self

    @pydantic.model_validator(mode="after")
    def _parts_fit(self) -> Self:
        field = self.read.config.get("part_field")
        if not self.parts:
            if field is not None or self.parts_by is not None:
                raise ValueError("the source is cut by a field or a column: list its parts")
            return self
        if (field is None) == (self.parts_by is None):
            raise ValueError(f"parts: set either read.{self.read.stage}.part_field, a field, or parts_by, a column")
        if self.share is not None or self.epochs is not None:
            raise ValueError("parts: give the parts share or epochs, and the source neither")
        for name in self.parts:
            if not re.fullmatch(SOURCE_NAME, name) or f".{name}" in SPLITS:
                raise ValueError(f"parts: the name {name!r} is invalid: {NAME_RULE}")
        values = [part.value for part in self.parts.values() if part.value is not None]
        if twice := [value for value in values if values.count(value) > 1]:
            raise ValueError(f"parts: the value {twice[0]!r} is that of two parts")
        parts = [*self.parts.values()]
        if field is not None and len(values) < len(parts):
            raise ValueError("parts: each part of a field has a value")
        if self.parts_by is not None and [part.is_rest for part in parts] != [False] * (len(parts) - 1) + [True]:
            raise ValueError("parts: the last part of a column has no threshold, and so all documents of no other part")
        return self

    def bins(self) -> Bins | None:
        """How a column of a step cuts the source into parts, if one does."""
        if self.parts_by is None:
            return None
        found = [
            Bin(name=name, at_least=part.at_least, at_most=part.at_most, one_of=part.value and (part.value,))
            for name, part in self.parts.items()
        ]
        return Bins(column=self.parts_by, bins=tuple(found))

    def reader_config(self, name: str) -> StageConfig:
        if self.parts_by is not None:
            return self.read.config_for(name)
        return self.read.config_for(name, {str(part.value): own for own, part in self.parts.items()})
