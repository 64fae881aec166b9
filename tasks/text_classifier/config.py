"""The parameters of a text classifier: how fastText is trained, and on which pages."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

from infra.stage import StageConfig

POSITIVE, NEGATIVE = "positive", "negative"
MODEL = "model.bin"


class TextClassifierConfig(StageConfig):
    """fastText's options, with its own defaults, and what is chosen from the documents.

    `positive` names the sources and references of the positive class; the documents of all others are negative. With
    `language`, only documents of that label count, so that the classes do not differ by language. `negative_rate` is
    the share of the negative documents that is looked at. Each class has at most `most_documents`, of which at most
    `most_per_site` are of one site, and as many as the other. A document has at least `fewest_words`; its first
    `most_words` count. Every `held_out_every`-th site is held out, to measure the classifier. Fewer than
    `minimum_documents` of a class are an error. `seed` chooses among documents, and orders them. Without `by_site`,
    each document is a site of its own: for a class from one site, such as Wikipedia.
    """

    positive: tuple[str, ...] = pydantic.Field(min_length=1)
    language: str | None = None
    negative_rate: float = pydantic.Field(1.0, gt=0, le=1)
    most_documents: int = pydantic.Field(300_000, ge=2)  # RedPajama took 300,000 pages that Wikipedia cites
    minimum_documents: int = pydantic.Field(1000, ge=2)
    most_per_site: int = pydantic.Field(100, ge=1)
    fewest_words: int = pydantic.Field(50, ge=2)
    most_words: int = pydantic.Field(1000, ge=2)
    held_out_every: int = pydantic.Field(10, ge=2)
    by_site: bool = True
    seed: int = pydantic.Field(0, ge=0)
    dimensions: int = pydantic.Field(100, ge=1, le=1000)
    epochs: int = pydantic.Field(5, ge=1, le=1000)
    learning_rate: float = pydantic.Field(0.1, gt=0, le=10)
    minimum_count: int = pydantic.Field(1, ge=1)
    word_ngrams: int = pydantic.Field(1, ge=1, le=10)
    buckets: int = pydantic.Field(2_000_000, ge=1, le=100_000_000)

    @pydantic.model_validator(mode="after")
    def _bounds_fit(self) -> TextClassifierConfig:
        if self.fewest_words > self.most_words:
            raise ValueError(f"fewest_words {self.fewest_words} is above most_words {self.most_words}: swap them")
        if self.minimum_documents > self.most_documents:
            raise ValueError(
                f"minimum_documents {self.minimum_documents} is above most_documents {self.most_documents}: swap them"
            )
        return self

    def refuse_origins(self, names: Sequence[str]) -> None:
        if unknown := [name for name in self.positive if name not in names]:
            raise ValueError(f"positive names {unknown[0]}, which is not in on: add it there")
        if not set(names) - set(self.positive):
            raise ValueError("all sources and references in on are positive: add one with negative documents")

    def options(self) -> dict[str, object]:
        """fastText's options of its command ``supervised``. One thread, so that a file gives one model."""
        return {
            "lr": self.learning_rate,
            "dim": self.dimensions,
            "epoch": self.epochs,
            "minCount": self.minimum_count,
            "wordNgrams": self.word_ngrams,
            "bucket": self.buckets,
            "thread": 1,
            "verbose": 0,
        }
