"""Parameters of flows and commands, each declared once: description, minimum, and the names to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # `millrace --help` does not import Pydantic
    from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Parameter:
    """Description and limits of a parameter, shared by a command's help and a deployment's form.

    As annotation metadata, ``Annotated[int, WORKERS]``, it gives Pydantic the minimum and the description.
    ``Annotated[int, WORKERS.option("--workers")]`` gives Typer the same. `choices` is what a form lists
    (`flows.forms`): recipes, presets or corpora.
    """

    description: str
    minimum: int | None = None
    choices: str | None = None

    @classmethod
    def of(cls, model: type[BaseModel], field: str) -> Parameter:
        """The parameter declared by a field of a Pydantic model."""
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
        # Prefect sets a description of None on every field of a flow's form; this one is nested below it.
        schema = {**handler(core_schema), "description": self.description}
        return schema if self.choices is None else {**schema, "choices": self.choices}


def _other(value: Any) -> Any:
    return value["name"] if isinstance(value, dict) and list(value) == ["name"] else value


LAKE = Parameter("Where artifacts are stored: a folder or s3://bucket/prefix.")
WORKERS = Parameter("Number of worker processes.", minimum=1)
CLUSTER = Parameter("Address of a Ray cluster, such as ray://head:10001. Without it, workers run on this machine.")
RECIPE = Parameter("Name of a bundled recipe, or a YAML file.", choices="recipes")
INPUTS = Parameter(
    "Paths, globs, folders or s3:// URIs that replace the inputs of the recipe's only source. With several sources, "
    "each is SOURCE=PATH."
)
SKIP_MISSING = Parameter(
    "Leave out sources without inputs, and for a reference without inputs the steps whose models are fitted on it."
)
CORPUS = Parameter("Name or key of a build. Without it: the newest build.", choices="corpora")
RUN = Parameter("Key of a run, or its first characters; `millrace runs` lists the keys.")
TOKENIZER = Parameter("A tokenizer file, such as GPT-NeoX's.")
END_OF_DOCUMENT = Parameter("Token of the file that ends every document. Without it: <|endoftext|>.")
VOCABULARY_SIZE = Parameter("Fit a tokenizer of this size instead of loading a file.", minimum=258)
HELD_OUT_EVERY = Parameter("Hold out every n-th document; 0 holds out none.", minimum=0)
BUILD_NAME = Parameter("Name for the new build, such as corpus/neox.")
CORPUS_NAME = Parameter(
    "Name for the build. Without it: corpus/RECIPE, and if recipe values were changed, a name of this build alone."
)
CONFIG = Parameter(
    "A preset such as tiny-pythia, or a YAML file. Optional when the run starts from a checkpoint.", choices="presets"
)
MODEL = Parameter("Model values to override. Empty fields keep the preset's value.")
TRAINING = Parameter("Hyperparameters to override. Empty fields keep the value of the preset or the checkpoint's run.")
LAYOUT = Parameter("How the run is executed; not part of the run's key. Empty fields keep the config's value.")
ORIGIN = Parameter("RUN or RUN@STEP: start a new run from the full state of that checkpoint.")
NEW = Parameter("Fork the run under this label. No run with another configuration may have the label.")
STEPS = Parameter("Steps of the checkpoints to score. Without it: all checkpoints.")
TASKS = Parameter("File of task definitions. Without it, tasks are made from held-out documents.")
ITEMS = Parameter("Number of items in each task that is made from held-out documents.", minimum=1)
TRAINED_RUN = Parameter("Key of a run trained on the build, or its first characters.")
REPORTS = Parameter("Folder for the reports.")
TRAININGS = Parameter("Training configs, one per run: preset names or YAML files.")
SETTINGS = Parameter("KEY=VALUE overrides a value of the recipe or config; repeatable.")
VALUES = Parameter("Recipe values to override, in the sections of the recipe.")

Lake = Annotated[str, LAKE]
Workers = Annotated[int, WORKERS]
Cluster = Annotated[str | None, CLUSTER]
Recipe = Annotated[str, RECIPE]
Inputs = Annotated[list[str] | None, INPUTS]
Corpus = Annotated[str | None, CORPUS]
Items = Annotated[int, ITEMS]
