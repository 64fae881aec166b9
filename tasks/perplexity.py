"""Perplexity of documents as computed by cc_net, and the buckets head, middle and tail.

After ``perplexity.py`` of facebookresearch/cc_net at commit bda555bd: the text is normalised to one line, split into
SentencePiece pieces, and scored by KenLM as one sentence with one beginning and one end.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import kenlm
import pyarrow as pa
import pydantic
import sentencepiece

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage
from tasks.text.normalise import normalise_for_scoring

PERPLEXITY_SCHEMA = pa.schema([pa.field("perplexity", pa.float64()), pa.field("bucket", pa.string())])
TOKENIZER_SUFFIX = ".sp.model"
MODEL_SUFFIX = ".arpa.bin"
FITTED_CUTOFFS = "cutoffs.json"
PUBLISHED_CUTOFFS = "cutoff.csv"
DECIMALS = 1
_SENTENCE_MARKS = (b"<s>", b"</s>")  # as KenLM names them, lm/vocab.hh
# First byte → how white space begins in UTF-8 for which str.split splits. Normalisation removes that of ASCII.
_OTHER_SPACES = {
    b"\xc2": (b"\xc2\x85", b"\xc2\xa0"),
    b"\xe1": (b"\xe1\x9a\x80",),
    b"\xe2": (b"\xe2\x80", b"\xe2\x81\x9f"),
    b"\xe3": (b"\xe3\x80\x80",),
}
_CURE = "fit the language models again"

Percentiles = Sequence[float]


class PerplexityConfig(StageConfig):
    """Documents below the first percentile of their language's perplexity are head, below the second middle.

    With `compat: ccnet`, a piece that spells a mark of KenLM, such as ``</s>``, is that mark and no text.
    """

    head_percentile: int = pydantic.Field(default=30, ge=0, le=99)
    middle_percentile: int = pydantic.Field(default=60, ge=0, le=99)
    compat: Literal["ccnet"] | None = None

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> PerplexityConfig:
        if self.head_percentile > self.middle_percentile:
            raise ValueError(
                f"head_percentile {self.head_percentile} is above middle_percentile {self.middle_percentile}: swap them"
            )
        return self


class LanguageScorer:
    """The SentencePiece model and the KenLM model of one language.

    Raises ValueError that names the file if one of them cannot be loaded.
    """

    def __init__(self, tokenizer: Path, model: Path) -> None:
        try:
            self._tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{tokenizer} is not a SentencePiece model ({error}): {_CURE}") from error
        settings = kenlm.Config()
        settings.load_method = kenlm.LoadMethod.LAZY  # memory-mapped, so that all workers of a machine share one copy
        settings.show_progress = False
        try:
            self._model = kenlm.Model(str(model), settings)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{model} is not a KenLM model ({error}): {_CURE}") from error

    def perplexity(self, normalised: str, *, marks: bool = False) -> float | None:
        """10 ** (-log10 p / (pieces + 1)), rounded to 0.1; None for a text without pieces.

        Pieces are counted as cc_net does: a piece with white space inside, other than a space of ASCII, is two. A piece
        that spells the beginning or the end of a sentence is an unknown word, unless `marks` is set.
        """
        pieces, number = self._pieces(normalised, marks)
        if not pieces:
            return None
        # A byte is found many times as fast as several.
        if any(byte in pieces and any(space in pieces for space in _OTHER_SPACES[byte]) for byte in _OTHER_SPACES):
            number = len(pieces.decode().split())
        return round(10.0 ** (-self._model.score(pieces) / (number + 1)), DECIMALS)

    def _pieces(self, normalised: str, marks: bool) -> tuple[bytes, int]:
        """The pieces of a normalised text, separated by spaces, as KenLM scores them, and their number.

        They stay in UTF-8, as both libraries hold them.
        """
        pieces = self._tokenizer.encode(normalised, out_type=bytes)
        joined = b" ".join(pieces)
        if not marks and b"<" in joined and any(mark in joined for mark in _SENTENCE_MARKS):
            joined = b" ".join([b"<unk>" if piece in _SENTENCE_MARKS else piece for piece in pieces])
        return joined, len(pieces)


class PerplexityModels:
    """The scorers and percentiles of all languages that have them. Each scorer is loaded on first use."""

    def __init__(self, files: Mapping[str, tuple[Path, Path]], percentiles: Mapping[str, Percentiles]) -> None:
        self._files = files
        self._scorers: dict[str, LanguageScorer] = {}
        self.percentiles = percentiles

    def scorer(self, language: str | None) -> LanguageScorer | None:
        """The scorer of `language`; None if there is none."""
        if language is None or language not in self._files:
            return None
        if language not in self._scorers:
            self._scorers[language] = LanguageScorer(*self._files[language])
        return self._scorers[language]


def load_perplexity_models(config: PerplexityConfig, files: Mapping[str, Path]) -> PerplexityModels:
    """Load models named as in cc_net: ``en.sp.model`` and ``en.arpa.bin``, one pair per language.

    The percentiles are in ``cutoffs.json``, written by the stage ``language_models``, or in cc_net's own
    ``cutoff.csv``. Raises ValueError if half of a pair or the percentiles are missing.
    """
    tokenizers = {name.removesuffix(TOKENIZER_SUFFIX): files[name] for name in files if name.endswith(TOKENIZER_SUFFIX)}
    models = {name.removesuffix(MODEL_SUFFIX): files[name] for name in files if name.endswith(MODEL_SUFFIX)}
    if halves := sorted(tokenizers.keys() ^ models.keys()):
        raise ValueError(
            f"the languages {', '.join(halves)} have only one of {TOKENIZER_SUFFIX} and {MODEL_SUFFIX}: give both files"
        )
    if FITTED_CUTOFFS in files:
        percentiles = read_fitted_percentiles(files[FITTED_CUTOFFS])
    elif PUBLISHED_CUTOFFS in files:
        percentiles = read_published_percentiles(files[PUBLISHED_CUTOFFS])
    else:
        raise ValueError(f"the models come without percentiles: add {FITTED_CUTOFFS}, or cc_net's {PUBLISHED_CUTOFFS}")
    return PerplexityModels({name: (tokenizers[name], models[name]) for name in sorted(models)}, percentiles)


def try_perplexity_models(files: Mapping[str, Path]) -> None:
    """Load the models of every language and use each once. Raises ValueError for files that are not such models."""
    models = load_perplexity_models(PerplexityConfig(), files)
    for name in files:
        if (scorer := models.scorer(name.removesuffix(MODEL_SUFFIX))) is not None:
            scorer.perplexity(normalise_for_scoring("What is the perplexity of this?"))


@stage(
    "perplexity",
    version=2,
    kind=StageKind.annotate,
    config=PerplexityConfig,
    libraries=["kenlm", "sentencepiece"],
    load=load_perplexity_models,
    try_model=try_perplexity_models,
    fitted_by=["language_models"],
    schema=PERPLEXITY_SCHEMA,
    columns=["text", "language.label"],
)
def score_perplexity(batch: Documents, config: PerplexityConfig, models: PerplexityModels) -> Annotations:
    """Compute the perplexity of each document under the models of its language, and its bucket.

    Reads ``text`` and ``language.label``. If the language has no model, or the normalised text is empty, the perplexity
    is null and the bucket "all", as in cc_net.
    """
    marks = config.compat is not None
    perplexities: list[float | None] = []
    buckets: list[str] = []
    for text, language in zip(
        batch.column("text").to_pylist(), batch.column("language.label").to_pylist(), strict=True
    ):
        scorer = models.scorer(language)
        perplexity = None if scorer is None else scorer.perplexity(normalise_for_scoring(text), marks=marks)
        perplexities.append(perplexity)
        buckets.append(bucket_of(perplexity, models.percentiles.get(language), config))
    return pa.table([perplexities, buckets], schema=PERPLEXITY_SCHEMA)


def bucket_of(perplexity: float | None, percentiles: Percentiles | None, config: PerplexityConfig) -> str:
    """The bucket "head", "middle" or "tail"; "all" without a perplexity or percentiles. Lower bounds are inclusive."""
    if perplexity is None or percentiles is None:
        return "all"
    if perplexity < percentiles[config.head_percentile]:
        return "head"
    return "middle" if perplexity < percentiles[config.middle_percentile] else "tail"


def read_fitted_percentiles(path: Path) -> dict[str, Percentiles]:
    """The 100 percentiles (0 to 99) of each language in a ``cutoffs.json``. Raises ValueError for an invalid file."""
    try:
        languages = json.loads(path.read_bytes())["languages"]
        return {name: _checked(language["percentiles"], path, name) for name, language in languages.items()}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a table of fitted percentiles ({error!r}): {_CURE}") from error


def read_published_percentiles(path: Path) -> dict[str, Percentiles]:
    """The percentiles in cc_net's ``cutoff.csv``: a column per language, a row per percentile.

    Raises ValueError for an invalid file.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"{path} is not a table with one column per language: take cc_net's {PUBLISHED_CUTOFFS}")
    if [row[0] for row in rows[1:]] != [str(percentile) for percentile in range(100)]:
        raise ValueError(f"{path} must have the rows 0 to 99, one per percentile: take cc_net's {PUBLISHED_CUTOFFS}")
    return {
        language: _checked([float(row[column]) for row in rows[1:]], path, language)
        for column, language in enumerate(rows[0])
        if column
    }


def _checked(percentiles: Percentiles, path: Path, language: str) -> Percentiles:
    if len(percentiles) != 100 or sorted(percentiles) != list(percentiles):
        raise ValueError(f"{path}: the percentiles of {language} are not 100 rising numbers: take a complete file")
    return percentiles
