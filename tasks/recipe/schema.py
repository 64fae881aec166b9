"""The recipe: its sources with their steps and rules, what sees all of them, and the tokens that are made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

import pydantic

from tasks.corpus.duplicates import Survivors
from tasks.recipe.parts import FittedModel, Section, Step
from tasks.recipe.source import NAME_RULE, SOURCE_NAME, PartOfSource, Reference, Source
from tasks.recipe.tokenizer_section import TokenizerSection
from tasks.token_artifact import part_name

RESERVED = ("across", "models", "earlier")  # first parts of names of artifacts, beside the names of sources
DEFAULT_SURVIVORS: tuple[Survivors, ...] = ("longest", "earliest")


class TokensSection(Section):
    """What is kept from training."""

    held_out_every: int = pydantic.Field(0, ge=0, description="Hold out every n-th document to evaluate; 0 for none.")
    validation: float = pydantic.Field(0.0, ge=0, lt=1, description="Share of duplicate clusters used for validation.")


class Recipe(Section):
    """A corpus. Each source goes through its own steps and rules; `across` sees all sources together.

    A source takes every field that it does not name from `defaults`. Sources give shares of the training tokens, or
    epochs; without either, all have the same share.
    """

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    lacks: dict[str, str] = pydantic.Field(
        default_factory=dict,
        exclude_if=lambda lacks: not lacks,
        description="What the original did and this recipe does not do yet: step → what it would do.",
    )
    models: dict[str, FittedModel] = pydantic.Field(default_factory=dict)
    references: dict[str, Reference] = pydantic.Field(default_factory=dict)
    sources: dict[str, Source] = pydantic.Field(min_length=1)
    across: tuple[Step, ...] = pydantic.Field((), description="Steps that process all sources together, in order.")
    most_failures: float = pydantic.Field(0.05, ge=0, le=1, description="Share of documents that may fail a stage.")
    failures_allowed: int = pydantic.Field(100, ge=0, description="This many may fail a stage, whatever their share.")
    tokenizer: TokenizerSection = pydantic.Field(default_factory=TokenizerSection)
    tokens: TokensSection = pydantic.Field(default_factory=TokensSection)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _defaults_apply(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not isinstance(value.get("defaults"), Mapping):
            return value
        value = dict(value)
        defaults = dict(value.pop("defaults"))
        if unknown := sorted(map(str, set(defaults) - set(Source.model_fields))):
            raise ValueError(f"defaults: a source has no {unknown[0]}; it has {', '.join(Source.model_fields)}")
        for section, fields in (("sources", Source.model_fields), ("references", {"read", "inputs"})):
            given = value.get(section)
            if isinstance(given, Mapping):
                inherited = {key: item for key, item in defaults.items() if key in fields}
                value[section] = {
                    name: {**inherited, **({} if body is None else body)}
                    if body is None or isinstance(body, Mapping)
                    else body
                    for name, body in given.items()
                }
        return value

    @pydantic.model_validator(mode="after")
    def _names_fit(self) -> Self:
        taken: set[str] = set()
        for kind, names in (("sources", self.sources), ("references", self.references), ("models", self.models)):
            for name in names:
                if not re.fullmatch(SOURCE_NAME, name):
                    raise ValueError(f"{kind}: the name {name!r} is invalid: {NAME_RULE}")
                if name in RESERVED:
                    raise ValueError(f"{kind}: {name} is reserved; choose another name")
                if kind != "models" and name in taken:
                    raise ValueError(f"{kind}: {name} is already a source; choose another name")
                taken.add(name)
        return self

    def mixed(self) -> dict[str, Source | PartOfSource]:
        """What the mixture consists of: each source, or each of its parts as ``SOURCE.PART``."""
        found: dict[str, Source | PartOfSource] = {}
        for name, source in self.sources.items():
            if source.split is not None:
                continue
            found |= {part_name(name, part): body for part, body in source.parts.items()}
            if not source.parts:
                found[name] = source
        return found

    def shares(self) -> dict[str, float]:
        """The mixture by shares: name → share of tokens, summing to 1. Empty when epochs are given."""
        mixed = self.mixed()
        if any(one.epochs is not None for one in mixed.values()):
            return {}
        given = {name: one.share if one.share is not None else 1.0 for name, one in mixed.items()}
        total = sum(given.values())
        return {name: share / total for name, share in given.items()}

    def epochs(self) -> dict[str, float]:
        """The mixture by epochs: name → epochs. Empty when shares are given."""
        mixed = self.mixed()
        if all(one.epochs is None for one in mixed.values()):
            return {}
        return {name: one.epochs if one.epochs is not None else 1.0 for name, one in mixed.items()}
