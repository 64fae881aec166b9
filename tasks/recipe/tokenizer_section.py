"""The tokenizer of a recipe: loaded, or fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import pydantic

from infra.stage import Stage, StageConfig
from tasks.sentencepiece_tokenizer import END_OF_SENTENCE, SentencePieceConfig, fit_sentencepiece
from tasks.tokenizer import END_OF_TEXT, TokenizerConfig, fit_tokenizer


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
