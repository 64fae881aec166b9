"""What no artifact knows and a provider states, for the public summary of training content: a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic

from tasks.settings import RecipeError, problems_of, read_mapping, refusal

Kind = Literal["public", "licensed", "private", "crawled", "user", "synthetic", "other"]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Provider(_Section):
    """Who places the model on the market."""

    name: str | None = None
    contact: str | None = None
    representative: str | None = pydantic.Field(None, description="In the Union, for a provider outside of it.")
    small: bool = pydantic.Field(False, description="An SME: the list of domains may be shorter.")
    signatory: bool | None = pydantic.Field(None, description="Of the Code of Practice for general-purpose AI.")


class ModelStatement(_Section):
    """The model as it is placed on the market."""

    names: tuple[str, ...] = ()
    dependencies: str | None = pydantic.Field(None, description="Models that it was made from, or none.")
    placed: str | None = pydantic.Field(None, description="Date of its placement on the Union market.")
    continues: bool | None = pydantic.Field(None, description="Whether it is trained on newer data after that.")


class SourceStatement(_Section):
    """A source of the recipe, as a reader knows it."""

    kind: Kind | None = None
    title: str | None = None
    link: str | None = None
    content: str | None = pydantic.Field(None, description="What kind of content it is, such as news or fiction.")


class Crawlers(_Section):
    """The crawlers behind crawled sources."""

    names: tuple[str, ...] = ()
    purposes: str | None = None
    behaviour: str | None = pydantic.Field(None, description="Towards robots.txt, paywalls, captchas.")
    by_provider: bool | None = pydantic.Field(None, description="False where others crawled, such as Common Crawl.")


class Statements(_Section):
    """All that a provider states. What is left out is named as missing in the summary."""

    provider: Provider = Provider()
    model: ModelStatement = ModelStatement()
    sources: dict[str, SourceStatement] = pydantic.Field(default_factory=dict)
    crawlers: Crawlers = Crawlers()
    user_data: str | None = pydantic.Field(None, description='How data of users were used, or "none".')
    synthetic_data: str | None = pydantic.Field(None, description='How synthetic data were made, or "none".')
    other_data: str | None = pydantic.Field(None, description='Other sources, or "none".')
    reservations: str | None = pydantic.Field(None, description="Measures beside those of the recipe.")
    illegal_content: str | None = pydantic.Field(None, description="Measures against illegal content.")
    further: str | None = None


def read_statements(path: Path) -> Statements:
    """Read such a file. Raises RecipeError that names every wrong value."""
    values = read_mapping(path, "statements")
    try:
        return Statements.model_validate(values)
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(str(path), "valid statements", problems_of(error, "file"))) from error
