"""The recipe: its sources with their steps and rules, what sees all of them, and the tokens that are made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic

from infra.stage import Stage, StageConfig
from tasks.corpus.duplicates import Survivors
from tasks.corpus.rules import Rule, Threshold
from tasks.recipe.parts import FittedModel, Reader, Section, Step
from tasks.sentencepiece_tokenizer import END_OF_SENTENCE, SentencePieceConfig, fit_sentencepiece
from tasks.token_artifact import SPLITS, part_name
from tasks.tokenizer import END_OF_TEXT, TokenizerConfig, fit_tokenizer

_SOURCE_NAME = r"^[a-z0-9][a-z0-9_-]*$"
_NAME_RULE = "use a-z, 0-9, _ and -, and start with a-z or 0-9"
RESERVED = ("across", "models", "earlier")  # first parts of names of artifacts, beside the names of sources
DEFAULT_SURVIVORS: tuple[Survivors, ...] = ("longest", "earliest")


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
    """The documents of a source with one value of the reader's `part_field`."""

    value: str = pydantic.Field(description="The value. Written alone, it is the part.")
    share: Share = None
    epochs: Epochs = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, str) else value


class Source(Reference):
    """A source of the corpus."""

    rules: tuple[Rule, ...] = pydantic.Field((), description="In order; the first rule that a document fails drops it.")
    parts: dict[str, PartOfSource] = pydantic.Field(
        default_factory=dict,
        exclude_if=lambda parts: not parts,
        description="Parts with token files and a place in the mixture of their own, by name.",
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
        if not self.parts:
            if self.read.config.get("part_field") is not None:
                raise ValueError(f"read.{self.read.stage}.part_field cuts the source: list its parts")
            return self
        if self.read.config.get("part_field") is None:
            raise ValueError(f"parts: set read.{self.read.stage}.part_field, the field that says which part it is")
        if self.share is not None or self.epochs is not None:
            raise ValueError("parts: give the parts share or epochs, and the source neither")
        for name in self.parts:
            if not re.fullmatch(_SOURCE_NAME, name) or f".{name}" in SPLITS:
                raise ValueError(f"parts: the name {name!r} is invalid: {_NAME_RULE}")
        values = [part.value for part in self.parts.values()]
        if twice := [value for value in values if values.count(value) > 1]:
            raise ValueError(f"parts: the value {twice[0]!r} is that of two parts")
        return self

    def reader_config(self, name: str) -> StageConfig:
        return self.read.config_for(name, {part.value: own for own, part in self.parts.items()})


class TokenizerSection(TokenizerConfig):
    """A tokenizer to load, or the config of the one to fit."""

    file: str | None = pydantic.Field(
        None,
        description="Tokenizer to load: tokenizer.json, a SentencePiece .model, or a folder with either or with "
        "vocab.json and merges.txt. Without it, a tokenizer is fitted.",
    )
    fit: Literal["byte_level", "sentencepiece"] = pydantic.Field(
        "byte_level",
        exclude_if=lambda kind: kind == "byte_level",
        description="What is fitted: a byte-level BPE as GPT-NeoX-20B's, or a SentencePiece BPE as LLaMA's.",
    )
    end_of_document: str = pydantic.Field(
        END_OF_TEXT, min_length=1, description="Token of the file that ends every document."
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _end_of_kind(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("fit") == "sentencepiece" and value.get("file") is None:
            return {"end_of_document": END_OF_SENTENCE, **value}
        return value

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.file is not None:
            return self
        own = END_OF_SENTENCE if self.fit == "sentencepiece" else END_OF_TEXT
        if self.end_of_document != own:
            raise ValueError(
                f"end_of_document is {self.end_of_document}, but a fitted tokenizer ends documents with {own}: "
                "name a file that has the token, or omit end_of_document"
            )
        self.fitted()
        return self

    def fitted(self) -> tuple[Stage, StageConfig]:
        """The stage that fits the tokenizer, and its config. Raises ValueError for a value that it refuses."""
        values = self.model_dump(exclude={"file", "fit", "end_of_document"})
        if self.fit == "byte_level":
            return fit_tokenizer, TokenizerConfig.model_validate(values)
        if values.pop("longest_run", 0):
            raise ValueError("longest_run is for fit: byte_level; SentencePiece finds runs of spaces itself")
        return fit_sentencepiece, SentencePieceConfig.model_validate(values)


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
                if not re.fullmatch(_SOURCE_NAME, name):
                    raise ValueError(f"{kind}: the name {name!r} is invalid: {_NAME_RULE}")
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
