"""Parameters that several flows share, with the words that the dashboard's forms show beside them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Lake = Annotated[str, Field(description="Where artifacts lie: a folder, or s3://bucket/prefix.")]
Workers = Annotated[int, Field(ge=1, description="Worker processes.")]
Settings = Annotated[
    list[str] | None, Field(description="KEY=VALUE for any value, such as near_duplicates.threshold=0.7.")
]
Inputs = Annotated[
    list[str] | None, Field(description="Paths, globs or s3:// URIs in place of those of the recipe's only source.")
]
Corpus = Annotated[str | None, Field(description="A build by name or key; the newest without one.")]
Run = Annotated[str, Field(description="The start of a run's key.")]
Items = Annotated[int, Field(ge=1, description="Items of each task that is made of held-out documents.")]
