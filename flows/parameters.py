"""Parameters of flows and commands, each declared once: its explanation, its limit, and the names to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # `millrace --help` does without Pydantic
    from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Parameter:
    """What a parameter means, for the help of a command and for the form of a deployment.

    As metadata of an annotation, ``Annotated[int, WORKERS]``, it gives Pydantic the limit and the description.
    ``Annotated[int, WORKERS.option("--workers")]`` gives Typer the same. `choices` names what a form offers
    (`flows.forms`): recipes, presets or corpora.
    """

    description: str
    minimum: int | None = None
    choices: str | None = None

    @classmethod
    def of(cls, model: type[BaseModel], field: str) -> Parameter:
        """The parameter that a field of a Pydantic model declares."""
        info = model.model_fields[field]
        minimum = next((limit.ge for limit in info.metadata if hasattr(limit, "ge")), None)
        return cls(info.description or "", minimum)

    def option(self, *names: str) -> Any:
        """The option of a command."""
        return typer.Option(*names, help=self.description, min=self.minimum)

    def argument(self) -> Any:
        """The argument of a command."""
        return typer.Argument(help=self.description, min=self.minimum)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic import Field
        from pydantic_core import core_schema

        if self.minimum is not None:
            return handler.generate_schema(Annotated[source, Field(ge=self.minimum)])
        if self.choices is not None:
            return core_schema.no_info_before_validator_function(_other, handler(source))
        return handler(source)

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        # Prefect gives every field of a flow's form a description of its own, None; this one lies below that.
        schema = {**handler(core_schema), "description": self.description}
        return schema if self.choices is None else {**schema, "choices": self.choices}


def _other(value: Any) -> Any:
    return value["name"] if isinstance(value, dict) and list(value) == ["name"] else value


LAKE = Parameter("Where artifacts lie: a folder, or s3://bucket/prefix.")
WORKERS = Parameter("Worker processes.", minimum=1)
CLUSTER = Parameter("A Ray cluster, such as ray://head:10001; the workers are of this machine without it.")
RECIPE = Parameter("A recipe of ours by name, or a YAML file.", choices="recipes")
INPUTS = Parameter("Paths, globs, folders or s3:// URIs in place of the inputs of the recipe's only source.")
CORPUS = Parameter("A build by name or key; the newest without it.", choices="corpora")
RUN = Parameter("The run's key, or its beginning; `millrace runs` lists them.")
TOKENIZER = Parameter("A tokenizer file, such as GPT-NeoX's.")
VOCABULARY_SIZE = Parameter("Fit a tokenizer of this size in place of a file.", minimum=258)
HELD_OUT_EVERY = Parameter("Hold every n-th document out; 0 for none.", minimum=0)
BUILD_NAME = Parameter("A name for the new build, such as corpus/neox.")
CONFIG = Parameter(
    "A preset such as tiny-pythia, or a YAML file; not needed to begin with a checkpoint.", choices="presets"
)
MODEL = Parameter("Values of the model to replace. Empty fields are the preset's.")
TRAINING = Parameter("Hyperparameters to replace. Empty fields are the preset's, or those of the checkpoint's run.")
LAYOUT = Parameter("How the run is executed; no part of its identity. Empty fields have the values of the config.")
ORIGIN = Parameter("RUN or RUN@STEP: begin a new run with the whole state of that checkpoint.")
NEW = Parameter("Fork the run under this label, which no other configuration has.")
STEPS = Parameter("Checkpoints to score, by their steps; all without it.")
TASKS = Parameter("A file of task definitions; without it, tasks are made of held-out documents.")
ITEMS = Parameter("Items of each task that is made of held-out documents.", minimum=1)
TRAINED_RUN = Parameter("The start of the key of a run trained on it.")
REPORTS = Parameter("Folder to write reports to.")
TRAININGS = Parameter("Training configs, one for each run: presets by name, or YAML files.")
SETTINGS = Parameter("KEY=VALUE for any value of the recipe or config; repeatable.")
VALUES = Parameter("Values of the recipe to replace, in sections as in the recipe.")

Lake = Annotated[str, LAKE]
Workers = Annotated[int, WORKERS]
Cluster = Annotated[str | None, CLUSTER]
Recipe = Annotated[str, RECIPE]
Inputs = Annotated[list[str] | None, INPUTS]
Corpus = Annotated[str | None, CORPUS]
Items = Annotated[int, ITEMS]
