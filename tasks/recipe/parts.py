"""The parts of a recipe: a step, a reader, a model that is fitted on the way, and how each may be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pydantic

from infra.stage import Stage, StageConfig, StageKind
from tasks.corpus.duplicates import Survivors, comparison_of
from tasks.stages import NAME, STEPS, find_stage

# Artifacts of every source, and what a funnel calls the reading and the end: no step can have their names.
RESERVED_STEPS = ("source", "documents", "ids", "rules", "groups", "outcomes", "corpus", "encode")


class Section(pydantic.BaseModel):
    """A part of a recipe. Unknown fields are refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StageUse(Section):
    """A stage with its config, validated by the stage's own class.

    Written as ``NAME``, as ``{NAME: {FIELD: VALUE, ...}}``, or with all fields by name.
    """

    stage: str = pydantic.Field(pattern=NAME)
    config: dict[str, Any] = pydantic.Field(default_factory=dict)

    def declared(self) -> Stage:
        """The stage."""
        raise NotImplementedError

    def typed_config(self) -> StageConfig:
        """The config as the stage's own class."""
        return self.declared().config.model_validate(self.config)


class Reader(StageUse):
    """How a source is read."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return short_form(value, "stage", {"stage"})

    @pydantic.model_validator(mode="after")
    def _config_is_the_stages(self) -> Self:
        if "source" in self.config:
            raise ValueError(f"{self.stage}.source is set to the name of the source: omit it")
        if "parts" in self.config:
            raise ValueError(f"{self.stage}.parts are set to the parts of the source: list them there")
        checked = checked_config(self.declared(), self.config, self.stage, hidden=("source", "parts"))
        object.__setattr__(self, "config", checked)
        return self

    def declared(self) -> Stage:
        return find_stage(self.stage, StageKind.source)

    def config_for(self, source: str, parts: Mapping[str, str] = {}) -> StageConfig:
        """The config as the stage's own class, for a source of that name with these names of parts by value."""
        cut = {"parts": dict(parts)} if parts else {}
        return self.declared().config.model_validate({**self.config, "source": source, **cut})


class Step(StageUse):
    """A stage as a source, or all of them together, go through it."""

    name: str = pydantic.Field(pattern=NAME, description="Name of the step in rules, --set and the ledger.")
    model: str | None = pydantic.Field(
        None, description="Name of a model in the recipe, bundled:NAME, a file, or a folder of files."
    )
    sees: tuple[str, ...] | None = pydantic.Field(
        None, description="Steps whose edits it sees. Default: all steps before it."
    )
    reads: dict[str, str] = pydantic.Field(
        default_factory=dict, description="Step to read for each stage whose columns it reads."
    )
    survivors: tuple[Survivors, ...] | None = pydantic.Field(
        None, min_length=1, description="Which member of a cluster of duplicates is kept, in order of preference."
    )
    against: tuple[str, ...] = pydantic.Field(
        (), description="Names of earlier builds. A document that is a duplicate of one of theirs goes."
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        value = short_form(value, "name", {"stage", "model", "sees", "reads", "survivors", "against"})
        return {"stage": value["name"], **value} if isinstance(value, dict) and "name" in value else value

    @pydantic.model_validator(mode="after")
    def _fits_its_stage(self) -> Self:
        if self.name in RESERVED_STEPS:
            raise ValueError(f"{self.name} is reserved; choose another name, with stage: {self.stage}")
        stage = self.declared()
        object.__setattr__(self, "config", checked_config(stage, self.config, self.name))
        if self.model is not None and stage.load is None:
            raise ValueError(f"{self.name}.model: {stage.name} does not use a model")
        if self.survivors is not None and not stage.gives_clusters:
            raise ValueError(f"{self.name}.survivors: {stage.name} does not find duplicates")
        if self.against and comparison_of(self.typed_config()) is None:
            raise ValueError(f"{self.name}.against: {stage.name} does not compare documents with those of other builds")
        if self.survivors is not None and "all" in self.survivors and len(self.survivors) > 1:
            raise ValueError(f"{self.name}.survivors: all keeps every member, so give no other preference")
        if unread := sorted(set(self.reads) - set(stage.reads(self.typed_config()))):
            raise ValueError(f"{self.name}.reads: {stage.name} does not read {unread[0]}")
        return self

    def declared(self) -> Stage:
        return find_stage(self.stage, *STEPS)

    @property
    def model_name(self) -> str | None:
        """The model that the recipe names, or the stage's own choice."""
        return self.model if self.model is not None else self.declared().default_model


class FittedModel(StageUse):
    """A model that is fitted on the way: on sources of the corpus, or on references."""

    on: tuple[str, ...] = pydantic.Field(min_length=1, description="Sources and references it is fitted on.")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and "fit" in value:
            value = dict(value)
            stage = value.pop("fit")
            config = {key: value.pop(key) for key in list(value) if key not in ("stage", "config", "on")}
            given = value.get("config", {})
            if not isinstance(given, Mapping):
                raise ValueError(f"config: expected a mapping of fields, found {given!r}")
            return {"stage": stage, **value, "config": {**given, **config}}
        return value

    @pydantic.model_validator(mode="after")
    def _config_is_the_stages(self) -> Self:
        object.__setattr__(self, "config", checked_config(self.declared(), self.config, self.stage))
        return self

    def declared(self) -> Stage:
        return find_stage(self.stage, StageKind.fit)


def short_form(value: Any, name_field: str, fields: set[str]) -> Any:
    """The full form of ``NAME`` or ``{NAME: {FIELD: VALUE}}``. Fields that are not of the envelope are config."""
    if isinstance(value, str):
        return {name_field: value}
    if not isinstance(value, Mapping) or name_field in value:
        return value
    if len(value) != 1:
        raise ValueError(f"write NAME, or NAME: {{FIELD: VALUE}}, not a mapping of {', '.join(map(str, value))}")
    [(name, body)] = value.items()
    if body is not None and not isinstance(body, Mapping):
        raise ValueError(f"{name}: expected a mapping of fields, found {body!r}")
    given = dict(body or {})
    envelope = {key: given.pop(key) for key in list(given) if key in fields}
    return {**envelope, name_field: name, "config": given}


def checked_config(stage: Stage, config: Mapping[str, Any], name: str, hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    """The config with the defaults of the stage's class. Raises ValueError naming every wrong field."""
    if twice := [f"{old} and {new}" for old, new in stage.config.renamed.items() if {old, new} <= config.keys()]:
        raise ValueError(f"{name}: {twice[0]} are one field: omit the first")
    named = {stage.config.renamed.get(field, field): value for field, value in config.items()}
    config = {field: value for field, value in named.items() if field not in stage.config.retired}
    known = [field for field in stage.config.model_fields if field not in hidden]
    if unknown := sorted(set(config) - set(known)):
        raise ValueError(f"{name} has no {unknown[0]}; {stage.name} has {', '.join(known) or 'no fields'}")
    try:
        checked = stage.config.model_validate(config)
    except pydantic.ValidationError as error:
        problems = (
            f"{name}.{'.'.join(map(str, problem['loc']))}".rstrip(".")
            + f": {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        raise ValueError("; ".join(problems)) from error
    return checked.model_dump(mode="json", exclude=set(hidden))
